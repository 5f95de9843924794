/** Tokenised corpora in Megatron's .bin and .idx files, samples, blends, and byte streams. */
module moe4j.data {
  requires transitive moe4j.tokenizer;
  requires com.fasterxml.jackson.databind;
  requires org.apache.commons.compress;

  exports moe4j.data;
  exports moe4j.data.preprocess;
  exports moe4j.data.stream;

  // Jackson reads and writes the manifests' records.
  opens moe4j.data to
      com.fasterxml.jackson.databind;
  opens moe4j.data.stream to
      com.fasterxml.jackson.databind;
}
