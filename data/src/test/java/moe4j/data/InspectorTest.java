package moe4j.data;

import static org.testng.Assert.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class InspectorTest {
  @Test
  public void printsWhatADatasetHolds() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      List<List<int[]>> documents = new ArrayList<>();
      for (int size : new int[] {5, 3, 9, 4, 7, 2}) {
        documents.add(List.of(new int[size]));
      }
      IndexedDatasetTest.write(prefix, DType.U16, documents);
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      PrintStream out = new PrintStream(bytes, false, StandardCharsets.UTF_8);
      Inspector.inspect(prefix, out);
      Inspector.indices(prefix, 8, OptionalLong.of(3), 1234, null, Part.TRAIN, out);
      Inspector.indices(prefix, 8, OptionalLong.empty(), 1234, Split.parse("1,1"), Part.VALID, out);
      out.flush();
      assertEquals(
          bytes.toString(StandardCharsets.UTF_8).replace(System.lineSeparator(), "\n"),
          """
          prefix: %s
          documents: 6
          sequences: 6
          tokens: 30
          dtype: uint16 (2 bytes a token)
          tokens a document: min 2, mean 5.0, max 9
          drawn from: sequences 0 to 5
          epochs: 1 (separate final epoch: false)
          samples: 3
          document_index: [2, 1, 5, 0, 4, 3]
          sample_index: [[0, 0], [0, 8], [3, 2], [4, 5]]
          shuffle_index: [0, 2, 1]
          drawn from: sequences 3 to 5
          epochs: 1 (separate final epoch: false)
          samples: 1
          document_index: [3, 4, 5]
          sample_index: [[0, 0], [1, 4]]
          shuffle_index: [0]
          """
              .formatted(prefix));
    }
  }
}
