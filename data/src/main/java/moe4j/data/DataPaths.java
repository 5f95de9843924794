package moe4j.data;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import moe4j.tokenizer.JsonFaults;
import moe4j.tokenizer.TextFiles;

/**
 * The flags that name data, each null where it is absent.
 *
 * @param dataPath {@code --data-path}: prefixes, or weights and prefixes in turn
 * @param dataArgsPath {@code --data-args-path}: a file that holds the same, split at white space
 * @param trainDataPath {@code --train-data-path}, as {@code --data-path}, for one part
 * @param validDataPath {@code --valid-data-path}
 * @param testDataPath {@code --test-data-path}
 * @param perSplitDataArgsPath {@code --per-split-data-args-path}: a JSON file with the keys train,
 *     valid and test, each a list or a string of the same, or null
 * @param mockData {@code --mock-data}
 * @param split {@code --split}
 */
public record DataPaths(
    List<String> dataPath,
    Path dataArgsPath,
    List<String> trainDataPath,
    List<String> validDataPath,
    List<String> testDataPath,
    Path perSplitDataArgsPath,
    boolean mockData,
    String split) {

  private static final String DATA_PATH = "--data-path";
  private static final String DATA_ARGS_PATH = "--data-args-path";
  private static final String PER_SPLIT_DATA_ARGS_PATH = "--per-split-data-args-path";
  private static final String MOCK_DATA = "--mock-data";

  /**
   * The one source that the flags name.
   *
   * @throws IllegalArgumentException if they name none or several, or contradict each other
   * @throws IOException if a file that they name cannot be read or understood
   */
  public DataSource source() throws IOException {
    List<String> ways = new ArrayList<>();
    Map<Part, List<String>> parts = new EnumMap<>(Part.class);
    put(parts, Part.TRAIN, trainDataPath);
    put(parts, Part.VALID, validDataPath);
    put(parts, Part.TEST, testDataPath);
    String partFlags = String.join(", ", parts.keySet().stream().map(DataPaths::flag).toList());
    add(ways, DATA_PATH, dataPath != null);
    add(ways, DATA_ARGS_PATH, dataArgsPath != null);
    add(ways, partFlags, !parts.isEmpty());
    add(ways, PER_SPLIT_DATA_ARGS_PATH, perSplitDataArgsPath != null);
    add(ways, MOCK_DATA, mockData);
    if (ways.isEmpty()) {
      throw new IllegalArgumentException(
          "no data is named: give %s PREFIX, or %s to try without".formatted(DATA_PATH, MOCK_DATA));
    }
    if (ways.size() > 1) {
      throw new IllegalArgumentException(
          "data is named in %d ways: %s; one is enough"
              .formatted(ways.size(), String.join(" and ", ways)));
    }
    if (dataPath != null) {
      return shared(DATA_PATH, dataPath);
    }
    if (dataArgsPath != null) {
      return shared(DATA_ARGS_PATH, words(read(DATA_ARGS_PATH, dataArgsPath)));
    }
    if (mockData) {
      // As in Megatron, the shares are equal whatever --split says.
      return new DataSource.Mock();
    }
    if (split != null) {
      throw new IllegalArgumentException(
          "--split shares one corpus out, but %s leaves nothing to share".formatted(ways.get(0)));
    }
    return perPart(perSplitDataArgsPath == null ? parts : readPerSplit());
  }

  private DataSource shared(String flag, List<String> list) {
    return new DataSource.Shared(
        Blend.parse(flag, list), Split.parse(split == null ? Split.DEFAULT : split));
  }

  private DataSource perPart(Map<Part, List<String>> lists) {
    Map<Part, Blend> blends = new EnumMap<>(Part.class);
    lists.forEach(
        (part, list) ->
            blends.put(
                part,
                Blend.parse(
                    perSplitDataArgsPath == null
                        ? flag(part)
                        : "%s of %s %s"
                            .formatted(
                                part.label(), PER_SPLIT_DATA_ARGS_PATH, perSplitDataArgsPath),
                    list)));
    return new DataSource.PerPart(blends);
  }

  private Map<Part, List<String>> readPerSplit() throws IOException {
    JsonNode root;
    String text = read(PER_SPLIT_DATA_ARGS_PATH, perSplitDataArgsPath);
    try (JsonParser json = new JsonFactory().createParser(text)) {
      try {
        root = new ObjectMapper().readTree(json);
      } catch (JsonProcessingException e) {
        throw new IOException(
            "%s %s is not JSON: %s"
                .formatted(
                    PER_SPLIT_DATA_ARGS_PATH, perSplitDataArgsPath, JsonFaults.placed(e, json)),
            e);
      }
    }
    Map<Part, List<String>> lists = new EnumMap<>(Part.class);
    for (Part part : Part.values()) {
      JsonNode node = root == null ? MissingNode.getInstance() : root.path(part.label());
      if (node.isTextual()) {
        put(lists, part, words(node.textValue()));
      } else if (node.isArray()) {
        List<String> words = new ArrayList<>();
        node.forEach(word -> words.add(word.asText()));
        put(lists, part, words);
      } else if (!node.isNull()) {
        throw new IOException(
            "%s %s: %s must be a list, a string or null"
                .formatted(PER_SPLIT_DATA_ARGS_PATH, perSplitDataArgsPath, part.label()));
      }
    }
    return lists;
  }

  private static String read(String flag, Path path) throws IOException {
    try {
      return TextFiles.read(path);
    } catch (NoSuchFileException e) {
      throw new IOException("there is no file %s, which %s names".formatted(path, flag), e);
    } catch (TextFiles.ForeignTextException e) {
      throw new IOException("%s %s".formatted(flag, e.getMessage()), e);
    } catch (IOException e) {
      throw new IOException("%s %s cannot be read: %s".formatted(flag, path, Reasons.of(e)), e);
    }
  }

  private static List<String> words(String text) {
    return text.isBlank() ? List.of() : Arrays.asList(text.strip().split("\\s+"));
  }

  private static void put(Map<Part, List<String>> lists, Part part, List<String> list) {
    if (list != null) {
      lists.put(part, list);
    }
  }

  private static void add(List<String> ways, String way, boolean taken) {
    if (taken) {
      ways.add(way);
    }
  }

  private static String flag(Part part) {
    return "--" + part.label() + "-data-path";
  }
}
