package moe4j.examples.gpt;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import moe4j.data.DType;
import moe4j.data.IndexedDatasetWriter;
import moe4j.record.RunEnd;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class TrainGptTest {
  @Test
  public void trainsWithAndWithoutExperts() throws IOException {
    try (TempDir directory = new TempDir()) {
      Path corpus = directory.path("corpus");
      int[] tokens = new Random(Seeds.seed()).ints(20_000, 0, 256).toArray();
      try (IndexedDatasetWriter writer =
          IndexedDatasetWriter.replace(corpus, DType.forVocab(257), note -> {})) {
        writer.addSequence(tokens, 0, tokens.length);
        writer.endDocument();
        writer.finish();
      }
      for (int experts : new int[] {0, 4}) {
        Path save = directory.path("run" + experts);
        assertEquals(
            TrainGpt.train(corpus.toString(), save.toString(), experts, 2).end(), RunEnd.COMPLETE);
        assertTrue(Files.exists(save.resolve("iter_0000002")), save + " has no checkpoint");
      }
    }
  }
}
