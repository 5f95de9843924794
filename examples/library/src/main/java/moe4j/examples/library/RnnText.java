package moe4j.examples.library;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import moe4j.config.Flag;
import moe4j.data.GptBatch;
import moe4j.data.SampleDataset;

/** What a character RNN learns from. */
public record RnnText(
    @Flag(help = "a text, of which each byte is a character", required = true) String textFile) {

  /**
   * Samples of a part of the text, one behind the other, and from its start again.
   *
   * @param from where the part begins, from 0 to 1
   * @param to where it ends
   * @param samples how many there are to be
   */
  SampleDataset samples(double from, double to, int length, long samples) throws IOException {
    byte[] all = Files.readAllBytes(Path.of(textFile));
    byte[] part = Arrays.copyOfRange(all, (int) (from * all.length), (int) (to * all.length));
    if (part.length <= length) {
      throw new IllegalArgumentException(
          "--text-file %s: %d bytes are too few for samples of %d characters"
              .formatted(textFile, part.length, length));
    }
    return new Samples(part, length, samples);
  }

  @SuppressWarnings("ArrayRecordComponent") // Nobody compares two.
  private record Samples(byte[] text, int seqLength, long size) implements SampleDataset {
    @Override
    public void read(long k, GptBatch batch, int row) {
      int start = (int) (k * seqLength % (text.length - seqLength));
      for (int s = 0; s < seqLength; s++) {
        int at = row * seqLength + s;
        batch.tokens()[at] = text[start + s] & 0xff;
        batch.labels()[at] = text[start + s + 1] & 0xff;
        batch.lossMask()[at] = 1;
        batch.positionIds()[at] = s;
        batch.documentIds()[at] = 0;
      }
    }
  }
}
