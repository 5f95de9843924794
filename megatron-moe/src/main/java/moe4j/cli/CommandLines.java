package moe4j.cli;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import moe4j.config.Faults;
import moe4j.config.Flags;

/** From typed words to a command and its flags, and to the answer where they are refused. */
final class CommandLines {
  private CommandLines() {}

  /** How many of the first words are a command's name: two come before one; 0 where none is. */
  static int words(List<Command> commands, String[] args) {
    for (int n = Math.min(2, args.length); n > 0; n--) {
      if (named(commands, args, n) != null) {
        return n;
      }
    }
    return 0;
  }

  /** The command that so many first words name, or null. */
  static Command named(List<Command> commands, String[] args, int words) {
    String typed = String.join(" ", Arrays.copyOf(args, words));
    return commands.stream().filter(c -> c.name().equals(typed)).findFirst().orElse(null);
  }

  /**
   * The value that a line gives a flag. Of several the last counts, and a typed value wins over a
   * file's.
   *
   * @param flags that take a value, behind which no file is named
   * @return null where it gives none
   * @throws IOException where a file of flags cannot be read
   */
  static String valueOf(String flag, Flags flags, String[] args) throws IOException {
    String typed = last(flag, args);
    return typed != null ? typed : last(flag, ConfigFiles.expand(flags, args));
  }

  private static String last(String flag, String[] words) {
    String value = null;
    for (int i = 0; i < words.length && !words[i].equals("--"); i++) {
      if (words[i].startsWith(flag + "=")) {
        value = words[i].substring(flag.length() + 1);
      } else if (words[i].equals(flag) && i + 1 < words.length && !words[i + 1].startsWith("--")) {
        value = words[i + 1];
      }
    }
    return value;
  }

  /**
   * A command's flags, checked as far as can be before anything is allocated.
   *
   * @throws moe4j.config.RefusedLine with all faults
   * @throws IOException where a file of flags cannot be read
   */
  static Flags.Parsed parse(Command command, String[] args, int processes) throws IOException {
    return command
        .flags()
        .parse(
            command.expand(ConfigFiles.expand(command.flags(), args)),
            parsed -> {
              Faults faults = new Faults();
              if (command.positional().isEmpty()) {
                faults.none(parsed::withoutPositional);
              }
              if (parsed.isWhole()) {
                faults.none(() -> command.check(parsed, processes));
              } else {
                faults.none(() -> command.checkPart(parsed, processes));
              }
              faults.refuse();
            });
  }

  /** Words as a line that can be typed into a shell. */
  static String typed(List<String> words) {
    return words.stream().map(CommandLines::quoted).collect(Collectors.joining(" "));
  }

  private static String quoted(String word) {
    return word.matches("[\\w./=+:,@-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
  }

  /** One line for the log that tells which flags of Megatron's do nothing. */
  static String withoutEffect(Flags.Parsed parsed) {
    return "taken without effect here: " + String.join(", ", parsed.withoutEffect());
  }

  /** What standard error gets: one fault in a line, several in a line each behind a head line. */
  static String answer(Command command, List<String> sentences) {
    String head = "moe4j " + command.name() + ": ";
    if (sentences.size() == 1) {
      return "%s%s%n".formatted(head, sentences.get(0));
    }
    StringBuilder text = new StringBuilder(head);
    text.append("%d things are wrong with this command line:%n".formatted(sentences.size()));
    sentences.forEach(sentence -> text.append("  %s%n".formatted(sentence)));
    return text.toString();
  }
}
