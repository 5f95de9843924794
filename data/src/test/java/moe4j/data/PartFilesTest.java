package moe4j.data;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.util.List;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class PartFilesTest {
  @Test
  public void onlyWhatIsNotFinishedGoes() throws IOException {
    try (TempDir dir = new TempDir();
        IndexedDatasetWriter done = IndexedDatasetWriter.create(dir.path("done"), DType.U16);
        IndexedDatasetWriter begun = IndexedDatasetWriter.create(dir.path("begun"), DType.U16)) {
      done.addSequence(new int[] {1, 2}, 0, 2);
      done.endDocument();
      done.finish();
      List<?> finished = List.of(dir.path("done.bin"), dir.path("done.idx"));
      begun.addSequence(new int[2 << 20], 0, 2 << 20);
      assertEquals(dir.list().size(), 3);
      PartFiles.deleteAll();
      assertEquals(dir.list(), finished);
      PartFiles.deleteAll();
      assertEquals(dir.list(), finished);
    }
  }
}
