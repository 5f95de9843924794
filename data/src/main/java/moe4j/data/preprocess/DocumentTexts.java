package moe4j.data.preprocess;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import moe4j.tokenizer.JsonFaults;

/**
 * The texts of documents: for each key its sentences, one where the document does not divide it.
 */
final class DocumentTexts {
  // The parser is as lenient as Python's json: NaN, infinities, texts of any length, the last of
  // equal keys.
  private static final JsonFactory JSON =
      JsonFactory.builder()
          .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxStringLength(Integer.MAX_VALUE)
                  .maxNumberLength(Integer.MAX_VALUE)
                  .maxNameLength(Integer.MAX_VALUE)
                  .build())
          .build();

  private DocumentTexts() {}

  /**
   * The sentences of each key, in the order of the keys.
   *
   * @throws IOException naming file and line if it is not a document
   */
  static List<List<String>> of(RawDocument document, List<String> keys) throws IOException {
    return document.json ? json(document, keys) : List.of(List.of(plain(document)));
  }

  private static String plain(RawDocument document) throws IOException {
    String text = new String(document.bytes, StandardCharsets.UTF_8);
    if (text.indexOf('\ufffd') >= 0) {
      // The replacement for bad bytes, or itself part of the text: a strict decoder tells.
      try {
        StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(document.bytes));
      } catch (CharacterCodingException notUtf8) {
        throw new IOException("%s is no UTF-8 text".formatted(document.where()), notUtf8);
      }
    }
    return text;
  }

  private static List<List<String>> json(RawDocument document, List<String> keys)
      throws IOException {
    if (looksWider(document.bytes)) {
      throw new IOException("%s is no UTF-8 text".formatted(document.where()));
    }
    List<List<String>> texts = new ArrayList<>(keys.size());
    keys.forEach(key -> texts.add(null));
    try (JsonParser json = JSON.createParser(document.bytes)) {
      try {
        read(json, document, keys, texts);
      } catch (JsonProcessingException notJson) {
        // The parser gives no place where it refuses a document that is nested too deep.
        JsonLocation at = notJson.getLocation();
        throw new IOException(
            "%s is no JSON at column %d: %s"
                .formatted(
                    document.where(),
                    (at == null ? json.currentLocation() : at).getColumnNr(),
                    JsonFaults.of(notJson)),
            notJson);
      }
    }
    int missing = texts.indexOf(null);
    if (missing >= 0) {
      throw new IOException("%s has no key '%s'".formatted(document.where(), keys.get(missing)));
    }
    return texts;
  }

  /** The parser would guess UTF-16 or UTF-32, whose lines do not end where the bytes say so. */
  private static boolean looksWider(byte[] line) {
    return line.length > 1 && (line[0] == 0 || line[1] == 0 || (line[0] & 0xff) >= 0xfe);
  }

  private static void read(
      JsonParser json, RawDocument document, List<String> keys, List<List<String>> texts)
      throws IOException {
    if (json.nextToken() != JsonToken.START_OBJECT) {
      throw new IOException("%s is no JSON object".formatted(document.where()));
    }
    while (json.nextToken() == JsonToken.FIELD_NAME) {
      int key = keys.indexOf(json.currentName());
      JsonToken value = json.nextToken();
      if (key < 0) {
        json.skipChildren();
      } else {
        texts.set(key, sentences(document, keys.get(key), json, value));
      }
    }
    if (json.nextToken() != null) {
      throw new IOException("%s goes on after its JSON object".formatted(document.where()));
    }
  }

  private static List<String> sentences(
      RawDocument document, String key, JsonParser json, JsonToken value) throws IOException {
    if (value == JsonToken.VALUE_STRING) {
      return List.of(json.getText());
    }
    List<String> sentences = new ArrayList<>();
    JsonToken token = value == JsonToken.START_ARRAY ? json.nextToken() : value;
    while (token == JsonToken.VALUE_STRING) {
      sentences.add(json.getText());
      token = json.nextToken();
    }
    if (token != JsonToken.END_ARRAY) {
      throw new IOException(
          "%s: key '%s' holds neither a string nor a list of strings"
              .formatted(document.where(), key));
    }
    return sentences;
  }
}
