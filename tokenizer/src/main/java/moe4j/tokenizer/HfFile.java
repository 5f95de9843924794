package moe4j.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Reads a {@code tokenizer.json} that may come from anywhere. The tokenizers library ends the whole
 * process where it meets what it does not expect, such as a decoder that is a number; so what is
 * handed to it is checked here, and written anew from what was checked.
 */
final class HfFile {
  /** Files of large vocabularies have some 35 MB. */
  private static final long MOST_BYTES = 256L << 20;

  /** Files that are in use have less than ten levels, and the library's parser takes 128. */
  private static final int MOST_LEVELS = 64;

  /** Digits of a number, and what belongs to it; a double has up to 25. */
  private static final int LONGEST_NUMBER = 40;

  private static final ObjectMapper JSON =
      JsonMapper.builder(
              JsonFactory.builder()
                  .streamReadConstraints(
                      StreamReadConstraints.builder()
                          .maxNestingDepth(MOST_LEVELS)
                          .maxNumberLength(LONGEST_NUMBER)
                          .maxStringLength((int) MOST_BYTES)
                          .build())
                  .build())
          .build();

  /** The parts beside the model, and the field in which each holds a list of its like. */
  private static final List<String[]> PARTS =
      List.of(
          new String[] {"normalizer", "normalizers"},
          new String[] {"pre_tokenizer", "pretokenizers"},
          new String[] {"post_processor", "processors"},
          new String[] {"decoder", "decoders"});

  private final Path file;

  private HfFile(Path file) {
    this.file = file;
  }

  /**
   * Reads any JSON that lies beside a tokenizer, or itself.
   *
   * @throws IOException if it is too large or no JSON: one sentence naming file and place
   */
  static JsonNode json(Path file) throws IOException {
    long size = Files.size(file);
    if (size > MOST_BYTES) {
      throw new IOException(
          "--tokenizer-model: %s has %d bytes, and no tokenizer has more than %d"
              .formatted(file, size, MOST_BYTES));
    }
    try (InputStream text =
            TextFiles.withoutMark(Files.newInputStream(file), "--tokenizer-model: " + file);
        JsonParser parser = JSON.createParser(text)) {
      try {
        JsonNode root = JSON.readTree(parser);
        if (parser.nextToken() != null) {
          throw new IOException(
              "--tokenizer-model: %s goes on after its JSON, at line %d"
                  .formatted(file, parser.currentTokenLocation().getLineNr()));
        }
        return root == null ? MissingNode.getInstance() : root;
      } catch (JsonProcessingException notJson) {
        throw new IOException(
            "--tokenizer-model: %s is no JSON: %s"
                .formatted(file, JsonFaults.placed(notJson, parser)),
            notJson);
      }
    }
  }

  /**
   * Reads a {@code tokenizer.json}.
   *
   * @throws IOException if it is not one or would end the process: one sentence with file and field
   */
  static JsonNode read(Path file) throws IOException {
    JsonNode root = json(file);
    new HfFile(file).check(root);
    return root;
  }

  private IOException refused(String what) {
    return new IOException("--tokenizer-model: %s: %s".formatted(file, what));
  }

  private void check(JsonNode root) throws IOException {
    if (!root.isObject()) {
      throw refused("a tokenizer is a JSON object, and this is " + kind(root));
    }
    checkValues(root, "");
    for (String field : List.of("truncation", "padding")) {
      object(root, field);
    }
    JsonNode added = root.path("added_tokens");
    if (!added.isArray() && !nothing(added)) {
      throw refused("added_tokens is to be a list, and is " + kind(added));
    }
    for (int i = 0; i < added.size(); i++) {
      String name = "added_tokens[%d]".formatted(i);
      if (!added.get(i).path("content").isTextual()) {
        throw refused(name + " has no content");
      }
      checkId(added.get(i).path("id"), name + ".id");
    }
    for (String[] part : PARTS) {
      object(root, part[0]);
      checkPart(root.path(part[0]), part[0], part[0], part[1]);
    }
    object(root, "model");
    checkModel(root.path("model"));
  }

  private void object(JsonNode root, String field) throws IOException {
    JsonNode value = root.path(field);
    if (!value.isObject() && !nothing(value)) {
      throw refused("%s is to be an object, and is %s".formatted(field, kind(value)));
    }
  }

  /** Numbers have a value, and texts are such that UTF-8 can write them. */
  private void checkValues(JsonNode node, String name) throws IOException {
    if (node.isNumber() && !Double.isFinite(node.doubleValue())) {
      throw refused("%s is a number beyond all that can be computed with".formatted(name));
    }
    if (node.isTextual()) {
      checkText(node.textValue(), name);
    }
    if (node.isArray()) {
      for (int i = 0; i < node.size(); i++) {
        checkValues(node.get(i), name.isEmpty() ? "" : name);
      }
    }
    for (var field : node.properties()) {
      checkText(field.getKey(), "a name in " + (name.isEmpty() ? "the file" : name));
      checkValues(field.getValue(), name.isEmpty() ? field.getKey() : name + "." + field.getKey());
    }
  }

  private void checkText(String text, String name) throws IOException {
    if (!Utf16.wellFormed(text).equals(text)) {
      throw refused("%s holds half of a character, an unpaired surrogate".formatted(name));
    }
  }

  private void checkId(JsonNode id, String name) throws IOException {
    if (!id.isIntegralNumber() || !id.canConvertToInt() || id.intValue() < 0) {
      throw refused(
          "%s is to be an id, 0 to %d, and is %s"
              .formatted(name, Integer.MAX_VALUE - 1, id.isNumber() ? id.asText() : kind(id)));
    }
    if (id.intValue() == Integer.MAX_VALUE) {
      throw refused("%s is %d, above the greatest id".formatted(name, id.intValue()));
    }
  }

  private void checkPart(JsonNode part, String name, String slot, String list) throws IOException {
    if (nothing(part)) {
      return;
    }
    if (!part.isObject()) {
      throw refused("%s is to be an object, and is %s".formatted(name, kind(part)));
    }
    switch (part.path("type").asText()) {
      case "Precompiled" ->
          HfCharsMap.check(part.path("precompiled_charsmap"), name, this::refused);
      case "TemplateProcessing" -> checkTemplate(part, name);
      case "Strip" -> {
        // The library counts back from the end of a token without asking how long it is.
        if (slot.equals("decoder") && part.path("stop").asDouble() != 0) {
          throw refused(
              "%s.stop is %s: the tokenizers library fails at decoders that strip the ends of tokens, use 0"
                  .formatted(name, part.path("stop").asText()));
        }
      }
      default -> {
        // Others are checked by the library as it should.
      }
    }
    JsonNode parts = part.path(list);
    for (int i = 0; i < parts.size(); i++) {
      checkPart(parts.path(i), "%s.%s[%d]".formatted(name, list, i), slot, list);
    }
  }

  /** Each special token that a template names is explained. */
  private void checkTemplate(JsonNode part, String name) throws IOException {
    JsonNode known = part.path("special_tokens");
    for (String template : List.of("single", "pair")) {
      for (JsonNode piece : part.path(template)) {
        JsonNode id = piece.path("SpecialToken").path("id");
        if (!(id instanceof MissingNode) && !known.has(id.asText())) {
          throw refused(
              "%s.%s has the special token '%s', which special_tokens lacks"
                  .formatted(name, template, id.asText()));
        }
      }
      // A text would have to be taken apart first; the library writes lists.
      if (part.path(template).isTextual()) {
        throw refused("%s.%s is to be a list, and is a text".formatted(name, template));
      }
    }
    for (var special : known.properties()) {
      JsonNode value = special.getValue();
      if (value.path("ids").size() != value.path("tokens").size()) {
        throw refused(
            "%s.special_tokens: '%s' has %d ids and %d tokens"
                .formatted(
                    name, special.getKey(), value.path("ids").size(), value.path("tokens").size()));
      }
    }
  }

  private void checkModel(JsonNode model) throws IOException {
    JsonNode vocabulary = model.path("vocab");
    if (vocabulary.isObject()) {
      for (var token : vocabulary.properties()) {
        checkId(token.getValue(), "model.vocab: the value of '" + token.getKey() + "'");
      }
    }
    String prefix = model.path("continuing_subword_prefix").asText("");
    JsonNode merges = model.path("merges");
    if (model.path("continuing_subword_prefix").isTextual() && !prefix.isEmpty()) {
      for (int i = 0; i < merges.size(); i++) {
        JsonNode merge = merges.get(i);
        String text = merge.asText();
        String second =
            merge.isArray() ? merge.path(1).asText() : text.substring(text.indexOf(' ') + 1);
        if (!second.startsWith(prefix)) {
          throw refused(
              "model.merges[%d] continues with '%s', which does not begin with the continuing_subword_prefix '%s'"
                  .formatted(i, second, prefix));
        }
      }
    }
  }

  private static boolean nothing(JsonNode node) {
    return node.isMissingNode() || node.isNull();
  }

  private static String kind(JsonNode node) {
    return switch (node.getNodeType()) {
      case ARRAY -> "a list";
      case BOOLEAN -> "true or false";
      case NULL, MISSING -> "not there";
      case NUMBER -> "a number";
      case STRING -> "a text";
      default -> "an object";
    };
  }
}
