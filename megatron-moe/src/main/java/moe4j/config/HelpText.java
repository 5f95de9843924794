package moe4j.config;

import java.util.List;

/** What {@code --help} prints of flags. */
final class HelpText {
  private HelpText() {}

  /** The help text: a flag a line, under its record's name. */
  static String of(List<Class<? extends Record>> types) {
    StringBuilder text = new StringBuilder();
    for (Class<? extends Record> type : types) {
      List<FlagSpec> flags = FlagSpec.of(type);
      if (!flags.isEmpty()) {
        text.append(type.getSimpleName().replaceAll("(?<=.)(Config|Flags?|Options)$", ""))
            .append(":\n");
      }
      for (FlagSpec spec : flags) {
        String head = "  --" + spec.name() + spec.argument();
        text.append(head);
        text.append(head.length() < 38 ? " ".repeat(38 - head.length()) : "\n" + " ".repeat(38));
        wrap(text, spec.help());
      }
    }
    return text.toString();
  }

  private static void wrap(StringBuilder text, String help) {
    int column = 0;
    for (String word : help.split(" ")) {
      if (column > 0 && column + 1 + word.length() > 80) {
        text.append("\n").append(" ".repeat(38));
        column = 0;
      }
      text.append(column == 0 ? "" : " ").append(word);
      column += word.length() + 1;
    }
    text.append("\n");
  }
}
