package moe4j.data.preprocess;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import moe4j.data.DType;
import moe4j.data.IndexedDatasetWriter;
import org.testng.annotations.Test;

/** Where the files go, and what lies there already. */
public class OutputPrefixTest {
  private static PreprocessConfig config(Path input, Path prefix, boolean over) {
    return new PreprocessConfig(
        List.of(input), TextDocuments.FILE, List.of("text"), true, 1, prefix, 1000, over);
  }

  @Test
  public void whatIsThereStaysUnlessAskedFor() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "old");
      Workspace.run(config(input, space.prefix(), false));
      space.write("a.txt", "new");
      String message =
          expectThrows(
                  IllegalArgumentException.class,
                  () -> Workspace.run(config(input, space.prefix(), false)))
              .getMessage();
      assertTrue(
          message.startsWith(
              "--output-prefix %s: %s_text_document.bin (8 bytes, of "
                  .formatted(space.prefix(), space.prefix())),
          message);
      assertTrue(
          message.endsWith(
              ") is there already and is not replaced: give another prefix, or give --overwrite,"
                  + " which keeps it until the new one is whole"),
          message);
      assertEquals(space.texts("text"), List.of("old$"));
      // The old one stays where the new one fails.
      Path bad = space.write("b.txt", new byte[] {'a', (byte) 0xe9});
      expectThrows(IOException.class, () -> Workspace.run(config(bad, space.prefix(), true)));
      assertEquals(space.texts("text"), List.of("old$"));
      Workspace.run(config(input, space.prefix(), true));
      assertEquals(space.texts("text"), List.of("new$"));
      assertEquals(space.outputs(), List.of("data_text_document.bin", "data_text_document.idx"));
    }
  }

  @Test
  public void directoriesAreNoPrefixes() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "text");
      Path there = Files.createDirectories(space.root.resolve("there"));
      for (Path directory : List.of(there, there.resolve("."), there.resolve(".."), Path.of("."))) {
        assertEquals(
            expectThrows(IllegalArgumentException.class, () -> config(input, directory, true))
                .getMessage(),
            ("--output-prefix %s is a directory, but files are to begin with it: give a name in it,"
                    + " such as %s")
                .formatted(directory, directory.resolve("corpus")));
      }
      assertEquals(
          expectThrows(IllegalArgumentException.class, () -> PreprocessConfig.outputPrefix("o/"))
              .getMessage(),
          "--output-prefix o/ is a directory, but files are to begin with it: give a name in it, such as o/corpus");
      assertTrue(
          expectThrows(
                  IllegalArgumentException.class,
                  () -> config(input, PreprocessConfig.outputPrefix(""), true))
              .getMessage()
              .startsWith("--output-prefix '' is a directory"));
      assertEquals(PreprocessConfig.outputPrefix("o/c"), Path.of("o", "c"));
    }
  }

  @Test
  public void whatAKilledRunLeftIsToldAndGoes() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "text");
      Path left = space.root.resolve("out/data_text_document.bin.part");
      Files.createDirectories(left.getParent());
      Files.write(left, new byte[100]);
      List<String> notes = new ArrayList<>();
      Preprocessor.run(config(input, space.prefix(), false), Workspace.bytes(), new Noting(notes));
      assertEquals(notes.size(), 1);
      assertTrue(notes.get(0).startsWith(left + " (100 bytes, of "), notes.get(0));
      assertEquals(space.texts("text"), List.of("text$"));
      assertEquals(space.outputs(), List.of("data_text_document.bin", "data_text_document.idx"));
    }
  }

  @Test
  public void twoRunsIntoOnePrefix() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "text");
      Path prefix = space.prefix().resolveSibling("data_text_document");
      try (IndexedDatasetWriter first = IndexedDatasetWriter.create(prefix, DType.U16)) {
        assertEquals(
            expectThrows(
                    IOException.class, () -> Workspace.run(config(input, space.prefix(), true)))
                .getMessage(),
            "--output-prefix: %s.bin and .idx cannot be written: another process is writing it now (it holds the lock on %s.bin.part)"
                .formatted(prefix, prefix));
        first.addSequence(new int[] {1, 256}, 0, 2);
        first.endDocument();
        first.finish();
      }
      assertEquals(space.texts("text"), List.of("\u0001$"));
    }
  }

  private record Noting(List<String> notes) implements PreprocessListener {
    @Override
    public void progress(Progress progress) {}

    @Override
    public void note(String sentence) {
      notes.add(sentence);
    }
  }
}
