package moe4j.model;

import java.util.Arrays;
import java.util.Random;
import moe4j.tokenizer.Tokenizer;

/**
 * Continues texts.
 *
 * @param model writes them
 * @param sampler draws each token
 */
public record Continuation(TextModel model, Sampler sampler) {

  /**
   * The tokens that a text begins with. Without a text that is the end-of-document token, because a
   * document begins behind it.
   *
   * @throws IllegalArgumentException where there is no text and no such token
   */
  public int[] prompt(String text) {
    Tokenizer tokenizer = model.tokenizer();
    int[] tokens = text == null || text.isEmpty() ? new int[0] : tokenizer.encodePrompt(text);
    if (tokens.length == 0 && tokenizer.eod() < 0) {
      throw new IllegalArgumentException(
          "--prompt is needed: the tokenizer has no end-of-document token to begin with");
    }
    return tokens.length == 0 ? new int[] {tokenizer.eod()} : tokens;
  }

  /**
   * Continues a text until the end of the document or the last token asked for.
   *
   * @param prompt one token at least
   * @return the prompt and what follows it, without ends of documents
   */
  public int[] of(int[] prompt, int newTokens, Random random) {
    Tokenizer tokenizer = model.tokenizer();
    int[] tokens = Arrays.copyOf(prompt, prompt.length + newTokens);
    int length = prompt.length;
    try (NextToken text = model.begin()) {
      for (int[] taken = prompt; length < tokens.length; taken = new int[] {tokens[length - 1]}) {
        float[] logits = text.after(taken);
        int token = sampler.draw(logits, Math.min(tokenizer.vocabSize(), logits.length), random);
        if (token == tokenizer.eod()) {
          break;
        }
        tokens[length++] = token;
      }
    }
    int begin = prompt.length == 1 && prompt[0] == tokenizer.eod() ? 1 : 0;
    return Arrays.copyOfRange(tokens, begin, length);
  }
}
