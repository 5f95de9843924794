package moe4j.data;

/**
 * What turns a text into a sample.
 *
 * @param vocabSize token ids are below it; one that is not is an error
 * @param eod the end-of-document token, or -1 where the tokenizer has none and no rule needs it
 * @param pad what fills a sample that is too short, and bears no loss; -1 where the tokenizer has
 *     none, or one that it uses for something else too
 * @param resetPositionIds {@code --reset-position-ids}: positions begin anew after each eod
 * @param resetAttentionMask {@code --reset-attention-mask}: no attention across an eod
 * @param eodMaskLoss {@code --eod-mask-loss}: no loss where the input token is eod
 */
public record SampleRules(
    int vocabSize,
    int eod,
    int pad,
    boolean resetPositionIds,
    boolean resetAttentionMask,
    boolean eodMaskLoss) {

  /**
   * @throws IllegalArgumentException if eod lies outside of the vocabulary, or a rule needs it and
   *     the tokenizer has none
   */
  public SampleRules {
    if (eod < -1 || eod >= vocabSize) {
      throw new IllegalArgumentException(
          "the end-of-document token %d is not in the vocabulary of %d ids"
              .formatted(eod, vocabSize));
    }
    if (resetPositionIds) {
      needEod("--reset-position-ids", eod);
    }
    if (resetAttentionMask) {
      needEod("--reset-attention-mask", eod);
    }
    if (eodMaskLoss) {
      needEod("--eod-mask-loss", eod);
    }
    pad = pad == eod ? -1 : pad;
  }

  /**
   * Refuses a flag that cannot do without an end-of-document token, where the tokenizer has none.
   */
  void needEod(String flag) {
    needEod(flag, eod);
  }

  private static void needEod(String flag, int eod) {
    if (eod < 0) {
      throw new IllegalArgumentException(
          flag + " needs an end-of-document token, which the tokenizer has not");
    }
  }

  /** No resets and no masks; pads with -1. */
  public static SampleRules plain(int vocabSize, int eod) {
    return new SampleRules(vocabSize, eod, -1, false, false, false);
  }

  /**
   * Fills one row of a batch.
   *
   * @param text S + 1 tokens, pads among them; the pads of the batch become 0
   */
  void apply(long[] text, GptBatch batch, int row) {
    int seqLength = batch.seqLength();
    int position = 0;
    int document = 0;
    for (int i = 0, at = row * seqLength; i < seqLength; i++, at++) {
      long token = text[i];
      long label = text[i + 1];
      batch.tokens()[at] = token == pad ? 0 : token;
      batch.labels()[at] = label == pad ? 0 : label;
      batch.lossMask()[at] = label == pad || (eodMaskLoss && token == eod) ? 0 : 1;
      batch.positionIds()[at] = position++;
      batch.documentIds()[at] = document;
      if (token == eod && resetPositionIds) {
        position = 0;
      }
      if (token == eod && resetAttentionMask) {
        document++;
      }
    }
  }
}
