package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.regex.Pattern;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Files that ended the process in native code, or were refused in words that named no file. That
 * these tests go on is a part of what they check.
 */
public class HfFileTest {
  static final String GOOD =
      """
      {"version": "1.0", "truncation": null, "padding": null,
       "added_tokens": [{"id": 3, "content": "</s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true},
        {"id": 4, "content": "<s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}],
       "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
       "pre_tokenizer": {"type": "WhitespaceSplit"},
       "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
         {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [3], "tokens": ["</s>"]},
         "<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}},
       "decoder": {"type": "Sequence", "decoders": [
        {"type": "Strip", "content": "x", "start": 1, "stop": 0}]},
       "model": {"type": "BPE", "dropout": null, "unk_token": "a", "fuse_unk": false,
        "continuing_subword_prefix": "#", "end_of_word_suffix": null, "byte_fallback": false,
        "vocab": {"a": 0, "#b": 1, "ab": 2}, "merges": [["a", "#b"]]}}
      """;

  private Path file;

  @BeforeClass
  public void makeFile() throws IOException {
    file = Files.createTempFile("tokenizer", ".json");
  }

  @AfterClass(alwaysRun = true)
  public void deleteFile() throws IOException {
    Files.delete(file);
  }

  private Tokenizer tokenizer(String text, boolean special) throws IOException {
    Files.writeString(file, text);
    return Tokenizers.of(
        new TokenizerConfig("HuggingFaceTokenizer", file, null, null, null, special));
  }

  private String refusal(String text) {
    String message =
        expectThrows(IOException.class, () -> tokenizer(text, true).encode("ab")).getMessage();
    assertEquals(message.lines().count(), 1, message);
    String start = "--tokenizer-model: " + file;
    assertTrue(message.startsWith(start), message);
    return message.substring(start.length());
  }

  private static String with(String old, String replacement) {
    String text = GOOD.replaceFirst(Pattern.quote(old), replacement);
    assertTrue(!text.equals(GOOD), old);
    return text;
  }

  @Test
  public void aPromptHasNoEnd() throws IOException {
    Tokenizer tokenizer = tokenizer(GOOD, true);
    assertEquals(tokenizer.encode("ab a"), new int[] {4, 2, 0, 3});
    assertEquals(tokenizer.encodePrompt("ab a"), new int[] {4, 2, 0});
    // What the text itself holds stays.
    assertEquals(tokenizer.encodePrompt("ab </s>"), new int[] {4, 2, 3});
    assertEquals(tokenizer.encodePrompt(""), new int[0]);
    assertEquals(tokenizer(GOOD, false).encodePrompt("ab a"), new int[] {2, 0});
  }

  @Test
  public void whatIsHarmlessIsTaken() throws IOException {
    assertEquals(tokenizer("\ufeff" + GOOD, true).encode("ab"), new int[] {4, 2, 3});
    // Names that are there twice count once, for the check and for the library.
    String twice = "{\"decoder\": 7, " + GOOD.substring(1);
    assertEquals(tokenizer(twice, true).encode("ab"), new int[] {4, 2, 3});
  }

  @DataProvider
  public Object[][] hostile() {
    String decoder = "\"decoder\": {";
    String number = "9".repeat(400);
    return new Object[][] {
      {with(decoder, "\"decoder\": " + number + ", \"_\": {"), " is no JSON: at line 14, column"},
      {with(decoder, "\"decoder\": 7, \"_\": {"), ": decoder is to be an object, and is a number"},
      {
        with(decoder, "\"decoder\": \"ByteLevel\", \"_\": {"),
        ": decoder is to be an object, and is a text"
      },
      {with(decoder, "\"decoder\": [], \"_\": {"), ": decoder is to be an object, and is a list"},
      {
        with("{\"type\": \"Strip\"", "4, {\"type\": \"Strip\""),
        ": decoder.decoders[0] is to be an object, and is a number"
      },
      {with("\"stop\": 0", "\"stop\": 1"), ": decoder.decoders[0].stop is 1: "},
      {
        with("\"decoders\": [", "\"decoders\": [" + "[".repeat(500) + "]".repeat(500) + ", "),
        " is no JSON: at line 14, column"
      },
      {GOOD + "{}", " goes on after its JSON, at line 19"},
      {GOOD.substring(0, GOOD.length() - 4), " is no JSON: at line "},
      {"[]", ": a tokenizer is a JSON object, and this is a list"},
      {"", ": a tokenizer is a JSON object, and this is not there"},
      {"null", ": a tokenizer is a JSON object, and this is not there"},
      {with("\"NFC\"", "\"Precompiled\""), ": normalizer.normalizers[0] has no precompiled_char"},
      {
        with("\"NFC\"", "\"Precompiled\", \"precompiled_charsmap\": \"%\""),
        ": normalizer.normalizers[0].precompiled_charsmap is no Base64"
      },
      {
        with("\"NFC\"", "\"Precompiled\", \"precompiled_charsmap\": \"AAAA\""),
        ": normalizer.normalizers[0].precompiled_charsmap is cut off or no table of characters"
      },
      {
        with("\"NFC\"", "\"Precompiled\", \"precompiled_charsmap\": \"" + charsMap(1) + "\""),
        ": normalizer.normalizers[0].precompiled_charsmap leads out of its own table"
      },
      {
        with("\"</s>\": {\"id\"", "\"<e>\": {\"id\""),
        ": post_processor.single has the special token '</s>', which special_tokens lacks"
      },
      {
        with("\"ids\": [3]", "\"ids\": [3, 3]"),
        ": post_processor.special_tokens: '</s>' has 2 ids and 1 tokens"
      },
      {
        with("_prefix\": \"#\"", "_prefix\": \"##\""),
        ": model.merges[0] continues with '#b', which does not begin with"
      },
      {with("\"#b\": 1", "\"#b\": -1"), ": model.vocab: the value of '#b' is to be an id, 0 to "},
      {with("\"#b\": 1", "\"#b\": 1e999"), ": model.vocab.#b is a number beyond all "},
      {with("\"#b\": 1", "\"#b\": 4294967296"), ": model.vocab: the value of '#b' is to be an id"},
      {with("\"id\": 3,", "\"id\": 2147483647,"), ": added_tokens[0].id is 2147483647, above "},
      {with("\"content\": \"</s>\", ", ""), ": added_tokens[0] has no content"},
      {
        with("\"added_tokens\": ", "\"added_tokens\": {}, \"_\": "),
        ": added_tokens is to be a list"
      },
      {with("\"#b\": 1", "\"\\\\ud800\": 1"), " is no JSON: at line "},
    };
  }

  @Test(dataProvider = "hostile")
  public void hostileFilesAreRefusedInJava(String text, String words) {
    String message = refusal(text);
    assertTrue(message.startsWith(words), message);
  }

  @Test
  public void foreignEncodingsAreNamed() throws IOException {
    Files.write(file, ("\ufeff" + GOOD).getBytes(StandardCharsets.UTF_16LE));
    String message = expectThrows(IOException.class, () -> HfVocabulary.read(file)).getMessage();
    assertEquals(
        message,
        "--tokenizer-model: %s holds UTF-16 text, not UTF-8 text: convert it to UTF-8"
            .formatted(file));
  }

  /** A trie of so many units, none of which continues a key. */
  private static String charsMap(int units) {
    ByteBuffer bytes = ByteBuffer.allocate(4 + 4 * units).order(ByteOrder.LITTLE_ENDIAN);
    return Base64.getEncoder().encodeToString(bytes.putInt(4 * units).array());
  }

  @Test
  public void aTableThatIsClosedIsTaken() throws IOException {
    String text =
        with("\"NFC\"", "\"Precompiled\", \"precompiled_charsmap\": \"" + charsMap(256) + "\"");
    assertEquals(tokenizer(text, true).encode("ab"), new int[] {4, 2, 3});
  }
}
