package moe4j.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What the tokenizers library does not tell of a {@code tokenizer.json}: its greatest id and its
 * special tokens, which {@code tokenizer_config.json} beside it names.
 *
 * @param tokenizer what the {@code tokenizer.json} holds, checked
 * @param size one more than the greatest id
 * @param eod the id of the configuration's {@code eos_token}; without one, of the first customary
 *     name in the vocabulary; or -1
 * @param pad the id of the configuration's {@code pad_token}, or -1
 */
record HfVocabulary(JsonNode tokenizer, int size, int eod, int pad) {
  private static final List<String> CUSTOMARY_EOD =
      List.of("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>");

  /**
   * @param model {@code --tokenizer-model}: the file or its directory
   */
  static HfVocabulary read(Path model) throws IOException {
    Path file = Files.isDirectory(model) ? model.resolve("tokenizer.json") : model;
    if (!Files.isRegularFile(file)) {
      throw new FileNotFoundException(
          "--tokenizer-model %s: there is no file %s, and names on the Hugging Face hub are not looked up"
              .formatted(model, file));
    }
    JsonNode tokenizer = HfFile.read(file);
    Map<String, Integer> ids = ids(file, tokenizer);
    int size = ids.values().stream().mapToInt(id -> id + 1).max().orElse(0);

    Path configFile = file.resolveSibling("tokenizer_config.json");
    int eod = -1;
    int pad = -1;
    if (Files.isRegularFile(configFile)) {
      JsonNode config = HfFile.json(configFile);
      eod = special(config, "eos_token", ids, configFile);
      pad = special(config, "pad_token", ids, configFile);
    }
    if (eod < 0) {
      eod =
          CUSTOMARY_EOD.stream().filter(ids::containsKey).mapToInt(ids::get).findFirst().orElse(-1);
    }
    return new HfVocabulary(tokenizer, size, eod, pad);
  }

  private static Map<String, Integer> ids(Path file, JsonNode tokenizer) throws IOException {
    Map<String, Integer> ids = new HashMap<>();
    JsonNode vocabulary = tokenizer.path("model").path("vocab");
    if (vocabulary.isArray()) {
      for (int id = 0; id < vocabulary.size(); id++) {
        ids.put(vocabulary.get(id).path(0).asText(), id);
      }
    } else {
      vocabulary.properties().forEach(entry -> ids.put(entry.getKey(), entry.getValue().asInt()));
    }
    for (JsonNode added : tokenizer.path("added_tokens")) {
      ids.put(added.path("content").asText(), added.path("id").asInt());
    }
    if (ids.isEmpty()) {
      throw new IOException("--tokenizer-model: %s has no vocabulary".formatted(file));
    }
    return ids;
  }

  private static int special(
      JsonNode config, String key, Map<String, Integer> ids, Path configFile) {
    JsonNode value = config.path(key);
    String token = value.isObject() ? value.path("content").asText() : value.asText(null);
    if (token == null || value.isNull()) {
      return -1;
    }
    Integer id = ids.get(token);
    if (id == null) {
      throw new IllegalArgumentException(
          "--tokenizer-model: %s of %s is '%s', which the vocabulary lacks"
              .formatted(key, configFile, token));
    }
    return id;
  }
}
