package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class IndexedDatasetWriterTest {
  @Test
  public void writesMegatronsBytes() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("golden");
      try (IndexedDatasetWriter writer = IndexedDatasetWriter.create(prefix, DType.U16)) {
        writer.addSequence(new int[] {9, 1, 2, 3, 9}, 1, 4);
        writer.endDocument();
        writer.addSequence(new int[] {4, 5}, 0, 2);
        writer.endDocument();
        writer.finish();
      }
      assertEquals(
          HexFormat.of().formatHex(Files.readAllBytes(dir.path("golden.idx"))),
          "4d4d4944494458000001000000000000000802000000000000000300000000000000"
              + "030000000200000000000000000000000600000000000000"
              + "000000000000000001000000000000000200000000000000");
      assertEquals(
          HexFormat.of().formatHex(Files.readAllBytes(dir.path("golden.bin"))),
          "01000200030004000500");
      assertEquals(dir.list().size(), 2);
    }
  }

  @Test
  public void leavesNothingUnfinished() throws IOException {
    try (TempDir dir = new TempDir()) {
      try (IndexedDatasetWriter writer = IndexedDatasetWriter.create(dir.path("a"), DType.U16)) {
        writer.addSequence(new int[] {1}, 0, 1);
        assertFalse(dir.list().isEmpty());
        assertThrows(IllegalStateException.class, writer::finish);
      }
      assertEquals(dir.list().size(), 0);
    }
  }

  @Test
  public void refusesTokensOutOfRange() throws IOException {
    try (TempDir dir = new TempDir();
        IndexedDatasetWriter writer = IndexedDatasetWriter.create(dir.path("a"), DType.U16)) {
      writer.endDocument();
      String message =
          expectThrows(
                  IllegalArgumentException.class,
                  () -> writer.addSequence(new int[] {0, 65535, 65536}, 1, 3))
              .getMessage();
      assertEquals(
          message,
          "token 1 of document 1 is 65536, but "
              + dir.path("a")
              + ".bin stores uint16, 0 to 65535");
      assertEquals(writer.sequences(), 0);
    }
  }

  @Test
  public void choosesTheDtypeAsMegatron() {
    assertEquals(DType.forVocab(65499), DType.U16);
    assertEquals(DType.forVocab(65500), DType.I32);
  }
}
