package moe4j.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.BufferedReader;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Compares {@code vocab.json} and {@code merges.txt} with GPT-2's vocabulary. Both write a byte as
 * a printable character: itself where it is one, else U+0100 and on, in the order of the bytes.
 */
final class Gpt2Files {
  private static final int BYTES = 256;

  private final byte[][] vocabulary;
  private final int[] byteOf = new int[2 * BYTES];

  /**
   * @param vocabulary the bytes of each token; the ids after the single bytes' are in merge order,
   *     the last one is the end of document
   */
  Gpt2Files(byte[][] vocabulary) {
    this.vocabulary = vocabulary;
    Arrays.fill(byteOf, -1);
    int unprintable = 0;
    for (int b = 0; b < BYTES; b++) {
      boolean printable = (b > ' ' && b <= '~') || (b > 0xa0 && b != 0xad);
      byteOf[printable ? b : BYTES + unprintable++] = b;
    }
  }

  /**
   * @throws IllegalArgumentException if the file differs from GPT-2's
   */
  void checkVocabulary(Path file) throws IOException {
    requireFile("--vocab-file", file);
    int entries;
    try (JsonParser json = new JsonFactory().createParser(open("--vocab-file", file))) {
      try {
        entries = entries(file, json);
      } catch (JsonProcessingException notJson) {
        throw new IOException(
            "--vocab-file %s is no JSON: %s".formatted(file, JsonFaults.placed(notJson, json)),
            notJson);
      }
    }
    if (entries != vocabulary.length) {
      throw new IllegalArgumentException(
          "--vocab-file %s is not GPT-2's vocabulary, it has %d entries instead of %d"
              .formatted(file, entries, vocabulary.length));
    }
  }

  private int entries(Path file, JsonParser json) throws IOException {
    if (json.nextToken() != JsonToken.START_OBJECT) {
      throw new IllegalArgumentException("--vocab-file %s is no JSON object".formatted(file));
    }
    int entries = 0;
    while (json.nextToken() == JsonToken.FIELD_NAME) {
      String token = json.currentName();
      int id = json.nextIntValue(-1);
      if (id < 0 || id >= vocabulary.length || !isToken(id, token)) {
        throw new IllegalArgumentException(
            "--vocab-file %s is not GPT-2's vocabulary, it gives '%s' the id %s: use HuggingFaceTokenizer with a tokenizer.json"
                .formatted(file, token, json.getText()));
      }
      entries++;
    }
    return entries;
  }

  /**
   * @throws IllegalArgumentException if the file differs from GPT-2's
   */
  void checkMerges(Path file) throws IOException {
    requireFile("--merge-file", file);
    int id = BYTES;
    int line = 0;
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                open("--merge-file", file), StandardCharsets.UTF_8.newDecoder()))) {
      for (String merge = lines.readLine(); merge != null; merge = lines.readLine()) {
        line++;
        if ((line == 1 && merge.startsWith("#version")) || merge.isEmpty()) {
          continue;
        }
        int space = merge.indexOf(' ');
        if (space < 0
            || id == vocabulary.length - 1
            || !isToken(id, merge.substring(0, space) + merge.substring(space + 1))) {
          throw new IllegalArgumentException(
              "--merge-file %s is not GPT-2's, line %d differs: use HuggingFaceTokenizer with a tokenizer.json"
                  .formatted(file, line));
        }
        id++;
      }
    } catch (CharacterCodingException notText) {
      throw new IOException("--merge-file %s is no UTF-8 text".formatted(file), notText);
    }
    if (id != vocabulary.length - 1) {
      throw new IllegalArgumentException(
          "--merge-file %s is not GPT-2's, it has %d merges instead of %d"
              .formatted(file, id - BYTES, vocabulary.length - 1 - BYTES));
    }
  }

  private static void requireFile(String flag, Path file) throws FileNotFoundException {
    if (!Files.isRegularFile(file)) {
      throw new FileNotFoundException("%s %s is no file".formatted(flag, file));
    }
  }

  /** Opens a file without its byte order mark; the reader of text or the JSON parser closes it. */
  private static InputStream open(String flag, Path file) throws IOException {
    InputStream bytes = Files.newInputStream(file);
    try {
      return TextFiles.withoutMark(bytes, flag + " " + file);
    } catch (IOException refused) {
      bytes.close();
      throw refused;
    }
  }

  private boolean isToken(int id, String written) {
    if (id == vocabulary.length - 1) {
      return written.equals(Gpt2BpeTokenizer.EOD_TEXT);
    }
    byte[] bytes = new byte[written.length()];
    for (int i = 0; i < bytes.length; i++) {
      char c = written.charAt(i);
      if (c >= byteOf.length || byteOf[c] < 0) {
        return false;
      }
      bytes[i] = (byte) byteOf[c];
    }
    return Arrays.equals(bytes, vocabulary[id]);
  }
}
