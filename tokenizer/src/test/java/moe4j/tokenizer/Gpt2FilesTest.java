package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.testng.Assert.ThrowingRunnable;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

public class Gpt2FilesTest {
  private static final int SINGLE_BYTES = 256;

  private final Map<String, Integer> vocabulary = new LinkedHashMap<>();
  private final List<String> merges = new ArrayList<>();
  private Path vocabFile;
  private Path mergeFile;

  /**
   * GPT-2's files, written from jtokkit's ranks: what the bytes are written as is spelt out here.
   */
  @BeforeClass
  public void writeFiles() throws IOException {
    String printable =
        "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
    StringBuilder written = new StringBuilder();
    int shifted = 256;
    for (char b = 0; b < SINGLE_BYTES; b++) {
      boolean itself =
          printable.indexOf(b) >= 0 || (b >= '¡' && b <= '¬') || (b >= '®' && b <= 'ÿ');
      written.append(itself ? b : (char) shifted++);
    }
    byte[][] tokens = Gpt2BpeTokenizer.of(null, null).tokenBytes();
    for (int id = 0; id < tokens.length - 1; id++) {
      StringBuilder token = new StringBuilder();
      for (byte b : tokens[id]) {
        token.append(written.charAt(b & 0xff));
      }
      vocabulary.put(token.toString(), id);
      if (id >= SINGLE_BYTES) {
        merges.add(token.charAt(0) + " " + token.substring(1));
      }
    }
    vocabulary.put("<|endoftext|>", 50256);
    vocabFile = Files.createTempFile("vocab", ".json");
    mergeFile = Files.createTempFile("merges", ".txt");
  }

  @AfterClass
  public void deleteFiles() throws IOException {
    Files.delete(vocabFile);
    Files.delete(mergeFile);
  }

  /** With those of the files that are not null. */
  private Tokenizer of(Map<String, Integer> vocab, List<String> lines) throws IOException {
    if (vocab != null) {
      Files.writeString(vocabFile, new ObjectMapper().writeValueAsString(vocab));
    }
    if (lines != null) {
      Files.writeString(mergeFile, "#version: 0.2\n" + String.join("\n", lines) + "\n");
    }
    return Tokenizers.of(
        new TokenizerConfig(
            "GPT2BPETokenizer",
            null,
            vocab == null ? null : vocabFile,
            lines == null ? null : mergeFile,
            null,
            true));
  }

  @Test
  public void gpt2sOwnFilesAreAccepted() throws IOException {
    // As they stand in the published files.
    assertEquals(vocabulary.get("\u0120the"), 262);
    assertEquals(vocabulary.get("\u010a"), 198);
    assertEquals(vocabulary.get("\u00c3"), 127);
    assertEquals(merges.get(0), "\u0120 t");
    Tokenizer tokenizer = of(vocabulary, merges);
    assertEquals(
        tokenizer.identity().toString(),
        "{class=_GPT2BPETokenizer, tokenizer_path=[%s, %s]}".formatted(vocabFile, mergeFile));
  }

  @Test
  public void otherVocabulariesAreRefused() {
    refusedVocabulary("it gives", vocab -> swap(vocab, "\u0120the", "hello"));
    refusedVocabulary("50256 entries", vocab -> vocab.remove("\u0120the"));
    refusedVocabulary("it gives", vocab -> vocab.put("new", 50257));
    refusedVocabulary("it gives", vocab -> vocab.put("<|endoftext|>", 50255));
    refusedVocabulary("it gives", vocab -> vocab.put("\u65e5", 7));
  }

  @Test
  public void otherMergesAreRefused() {
    refusedMerges("line 12 differs", lines -> lines.set(10, "x y"));
    refusedMerges("49999 merges", lines -> lines.remove(lines.size() - 1));
    refusedMerges("line 50002 differs", lines -> lines.add("a b"));
  }

  @Test
  public void unreadableFilesAreNamed() throws IOException {
    Files.write(vocabFile, "{\"a\": ".getBytes(StandardCharsets.UTF_8));
    String truncated = message(IOException.class, vocabFile, null);
    assertTrue(truncated.startsWith("--vocab-file " + vocabFile + " is no JSON: "), truncated);
    Files.write(mergeFile, new byte[] {'a', ' ', (byte) 0xff});
    assertEquals(
        message(IOException.class, null, mergeFile),
        "--merge-file %s is no UTF-8 text".formatted(mergeFile));
    assertEquals(
        message(IOException.class, null, Path.of("no", "where")),
        "--merge-file %s is no file".formatted(Path.of("no", "where")));
  }

  private static String message(Class<? extends Exception> type, Path vocab, Path merge) {
    return expectThrows(
            type,
            () ->
                Tokenizers.of(
                    new TokenizerConfig("GPT2BPETokenizer", null, vocab, merge, null, true)))
        .getMessage();
  }

  private void refusedVocabulary(String reason, Consumer<Map<String, Integer>> change) {
    Map<String, Integer> vocab = new LinkedHashMap<>(vocabulary);
    change.accept(vocab);
    refused(reason, () -> of(vocab, null));
  }

  private void refusedMerges(String reason, Consumer<List<String>> change) {
    List<String> lines = new ArrayList<>(merges);
    change.accept(lines);
    refused(reason, () -> of(null, lines));
  }

  private static void refused(String reason, ThrowingRunnable make) {
    String message = expectThrows(IllegalArgumentException.class, make).getMessage();
    assertTrue(message.contains(reason), message);
  }

  private static void swap(Map<String, Integer> map, String a, String b) {
    map.put(a, map.put(b, map.get(a)));
  }
}
