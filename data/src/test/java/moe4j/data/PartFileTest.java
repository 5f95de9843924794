package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

/** Files of processes that are dead, and of one that is not. */
public class PartFileTest {
  private final List<String> notes = new ArrayList<>();

  /** Holds a file until it is killed. */
  static final class Holder {
    public static void main(String[] arguments) throws IOException {
      PartFile part = PartFile.open(Path.of(arguments[0]), note -> {});
      part.channel().write(ByteBuffer.wrap(new byte[10]));
      System.out.println("held");
      while (System.in.read() >= 0) {
        // Until it is killed, or whoever started it is.
      }
    }
  }

  private static Process holder(Path part) throws IOException {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xshare:auto",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty(
                    "surefire.test.class.path", System.getProperty("java.class.path")),
                Holder.class.getName(),
                part.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    assertEquals(process.inputReader().readLine(), "held");
    return process;
  }

  private static void kill(Process process) throws InterruptedException {
    process.destroyForcibly().waitFor();
  }

  @Test
  public void whatARunningProcessWritesIsLeftAlone() throws Exception {
    notes.clear();
    try (TempDir dir = new TempDir()) {
      Path part = dir.path("a.bin.part");
      Process process = holder(part);
      try {
        PartFile.HeldException held =
            expectThrows(PartFile.HeldException.class, () -> PartFile.open(part, notes::add));
        assertEquals(
            held.getMessage(),
            "another process is writing it now (it holds the lock on %s)".formatted(part));
        expectThrows(
            PartFile.HeldException.class,
            () -> IndexedDatasetWriter.create(dir.path("a"), DType.U16));
        PartFile.sweep(part.getParent(), name -> name.endsWith(".part"), notes::add);
        assertEquals(Files.size(part), 10);
        assertEquals(notes, List.of());
      } finally {
        kill(process);
      }
      // What it has left is told and goes, whichever way it is come upon.
      PartFile.open(part, notes::add).close();
      assertEquals(notes.size(), 1);
      assertTrue(notes.get(0).startsWith(part + " (10 bytes, of "), notes.get(0));
      assertTrue(
          notes.get(0).endsWith(") was left by a run that was killed: it is deleted"),
          notes.get(0));
      assertEquals(dir.list(), List.of());
      kill(holder(part));
      PartFile.sweep(part.getParent(), name -> name.endsWith(".part"), notes::add);
      assertEquals(notes.size(), 2);
      assertEquals(dir.list(), List.of());
    }
  }

  @Test
  public void oneProcessWritesAFileOnce() throws IOException {
    try (TempDir dir = new TempDir();
        PartFile part = PartFile.open(dir.path("a.part"), notes::add)) {
      Path again = dir.path("." + File.separator + "a.part");
      expectThrows(PartFile.HeldException.class, () -> PartFile.open(again, notes::add));
      PartFile.sweep(dir.path(""), name -> true, notes::add);
      part.channel().write(ByteBuffer.wrap(new byte[3]));
      part.moveTo(dir.path("a"));
      assertEquals(Files.size(dir.path("a")), 3);
      assertEquals(dir.list(), List.of(dir.path("a")));
    }
  }

  @Test
  public void aDatasetIsReplacedOnlyWhereThatIsAskedFor() throws IOException {
    notes.clear();
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("a");
      write(IndexedDatasetWriter.create(prefix, DType.U16), 1);
      IOException refused =
          expectThrows(
              IOException.class, () -> IndexedDatasetWriter.create(prefix, DType.U16).close());
      assertTrue(
          refused.getMessage().startsWith(prefix + ".bin (2 bytes, of "), refused.getMessage());
      Files.write(dir.path("a.idx.part"), new byte[5]);
      write(IndexedDatasetWriter.replace(prefix, DType.U16, notes::add), 2);
      assertEquals(Files.size(dir.path("a.bin")), 4);
      assertEquals(dir.list(), IndexedDatasetWriter.files(prefix));
      assertTrue(notes.get(0).startsWith(dir.path("a.idx.part") + " (5 bytes, of "));
      // An old index alone is something, too.
      Files.delete(dir.path("a.bin"));
      expectThrows(IOException.class, () -> IndexedDatasetWriter.create(prefix, DType.U16));
      assertEquals(dir.list(), List.of(dir.path("a.idx")));
    }
  }

  private static void write(IndexedDatasetWriter writer, int tokens) throws IOException {
    try (writer) {
      writer.addSequence(new int[tokens], 0, tokens);
      writer.endDocument();
      writer.finish();
    }
  }

  @Test
  public void indexCachesAreSwept() throws IOException {
    notes.clear();
    try (TempDir dir = new TempDir()) {
      Path cache = dir.path("cache");
      Files.createDirectories(cache);
      Path left =
          Files.write(
              cache.resolve("0123456789abcdef0123456789abcdef-GPTDataset-train-x.npy.4711.part"),
              new byte[3]);
      Path foreign = Files.write(cache.resolve("mine.part"), new byte[3]);
      IndexCache indices = new IndexCache(cache, Map.of("class", "C"), Part.TRAIN, notes::add);
      indices.get(
          () -> 0,
          () -> 1,
          value -> Map.of("x.npy", new Npy.NpyArray(Npy.Type.I32, new int[] {value}, 1)));
      assertTrue(notes.get(0).startsWith(left + " (3 bytes, of "), notes.toString());
      assertTrue(Files.exists(foreign));
      assertTrue(!Files.exists(left));
      assertEquals(dir.list().size(), 3, dir.list().toString());
    }
  }
}
