/** A program that trains a small GPT through the library. */
module moe4j.examples.gpt {
  requires moe4j.megatron;

  exports moe4j.examples.gpt;
}
