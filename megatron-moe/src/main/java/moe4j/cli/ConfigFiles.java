package moe4j.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.config.ConfigYaml;
import moe4j.config.Flags;

/**
 * Flags out of files: {@code --config FILE}, a YAML file of flags, and {@code @FILE}, a file of
 * words as they would be typed. They count as if they stood before what is typed, which so wins.
 */
final class ConfigFiles {
  /** For the end of every command's help. */
  static final String HELP =
      """
      Files:
        --config FILE                       a YAML file of these flags, names as keys; what is typed wins
        @FILE                               a file of words as they would be typed; what is typed wins
      """;

  private static final String FLAG = "--config";

  /** More than this is no file of flags. */
  private static final int MAX_BYTES = 1 << 20;

  private static final Pattern WORD = Pattern.compile("(?:[^\\s\"']|\"[^\"]*\"|'[^']*')+");
  private static final Pattern QUOTED = Pattern.compile("\"([^\"]*)\"|'([^']*)'");

  private ConfigFiles() {}

  /**
   * The words with those of the files that they name in front.
   *
   * @param flags of the command; words behind a command of its own are that one's
   * @throws IllegalArgumentException where a file cannot be used: one sentence
   */
  static String[] expand(Flags flags, String[] args) throws IOException {
    if (flags.takesCommand()) {
      return args;
    }
    List<String> files = new ArrayList<>();
    List<String> typed = new ArrayList<>();
    for (int i = 0; i < args.length; i++) {
      if (args[i].equals("--")) {
        typed.addAll(Arrays.asList(args).subList(i, args.length));
        break;
      } else if (args[i].equals(FLAG)) {
        if (i + 1 == args.length) {
          throw new IllegalArgumentException("--config needs a file after it");
        }
        files.addAll(config(args[++i]));
      } else if (args[i].startsWith(FLAG + "=")) {
        files.addAll(config(args[i].substring(FLAG.length() + 1)));
      } else if (args[i].matches("(?s)@.+") && !(i > 0 && flags.wantsValue(args[i - 1]))) {
        files.addAll(words(args[i].substring(1)));
      } else {
        typed.add(args[i]);
      }
    }
    files.addAll(typed);
    return files.toArray(new String[0]);
  }

  private static List<String> config(String name) throws IOException {
    return ConfigYaml.words("--config " + name, read("--config " + name, name));
  }

  /**
   * Words between spaces, in quotes where they hold some; a line that begins with # is a comment.
   */
  private static List<String> words(String name) throws IOException {
    List<String> words = new ArrayList<>();
    for (String line : read("@" + name, name).lines().map(String::strip).toList()) {
      if (line.startsWith("#")) {
        continue;
      }
      Matcher word = WORD.matcher(line);
      while (word.find()) {
        words.add(QUOTED.matcher(word.group()).replaceAll("$1$2"));
      }
      if (WORD.matcher(line).replaceAll("").matches(".*[\"'].*")) {
        throw new IllegalArgumentException(
            "@%s: a quote is not closed in the line '%s'".formatted(name, line));
      }
    }
    // What continues a line in a shell.
    words.removeIf("\\"::equals);
    return words;
  }

  private static String read(String typed, String name) throws IOException {
    Path file = Path.of(name);
    try {
      if (Files.isDirectory(file)) {
        throw new IllegalArgumentException("%s is a directory".formatted(typed));
      }
      byte[] bytes;
      // A pipe is welcome, one without an end is not.
      try (InputStream in = Files.newInputStream(file)) {
        bytes = in.readNBytes(MAX_BYTES + 1);
      }
      if (bytes.length > MAX_BYTES) {
        throw new IllegalArgumentException(
            "%s has more than %d bytes: it is no file of flags".formatted(typed, MAX_BYTES));
      }
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (NoSuchFileException e) {
      throw new IllegalArgumentException("%s: there is no such file".formatted(typed), e);
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException("%s is not UTF-8".formatted(typed), e);
    }
  }
}
