/** Texts to tokens and back: bytes, GPT-2's BPE, tokenizer.json. */
@SuppressWarnings("requires-automatic") // The two tokenizer libraries have no module-info.
module moe4j.tokenizer {
  requires transitive com.fasterxml.jackson.databind;
  // Optional: a program that tokenises with them adds them.
  requires static jtokkit;
  requires static ai.djl.tokenizers;

  exports moe4j.tokenizer;
}
