package moe4j.tokenizer;

import java.nio.file.Path;

/**
 * A tokenizer, by Megatron's flags; what is not given is null.
 *
 * @param type {@code --tokenizer-type}, one of {@link Tokenizers#types()}
 * @param model {@code --tokenizer-model}: a {@code tokenizer.json} or the directory that holds one
 * @param vocabFile {@code --vocab-file}: GPT-2's {@code vocab.json}
 * @param mergeFile {@code --merge-file}: GPT-2's {@code merges.txt}
 * @param vocabSize {@code --vocab-size}: ids of NullTokenizer, its end of document not counted
 * @param includeSpecialTokens whether HuggingFaceTokenizer adds what the file's post-processor
 *     adds, such as a beginning of sentence. Megatron does, unless {@code
 *     --tokenizer-hf-no-include-special-tokens} is given
 */
public record TokenizerConfig(
    String type,
    Path model,
    Path vocabFile,
    Path mergeFile,
    Integer vocabSize,
    boolean includeSpecialTokens) {

  /** A tokenizer that needs no more than its type. */
  public static TokenizerConfig ofType(String type) {
    return new TokenizerConfig(type, null, null, null, null, true);
  }
}
