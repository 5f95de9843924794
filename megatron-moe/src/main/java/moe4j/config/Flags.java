package moe4j.config;

import static java.util.regex.Pattern.DOTALL;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.MissingArgumentException;
import org.apache.commons.cli.Option;
import org.apache.commons.cli.Options;
import org.apache.commons.cli.ParseException;
import org.apache.commons.cli.UnrecognizedOptionException;

/** The flags of a command: the components of its records, parsed by Commons CLI. */
public final class Flags {
  /** A flag as typed: its dashes, its name, perhaps a value. Negative numbers are none. */
  private static final Pattern FLAG = Pattern.compile("(--?)(\\p{Alpha}[^\\s=]*)(?:=.*)?", DOTALL);

  private final List<Class<? extends Record>> types;
  private final Map<String, FlagSpec> specs = new LinkedHashMap<>();
  private final boolean beforeCommand;

  private Flags(List<Class<? extends Record>> types, boolean beforeCommand) {
    this.types = types;
    this.beforeCommand = beforeCommand;
    for (Class<? extends Record> type : types) {
      for (FlagSpec spec : FlagSpec.of(type)) {
        if (specs.put(spec.name(), spec) != null) {
          throw new IllegalStateException("--" + spec.name() + " stands in two records");
        }
      }
    }
    for (FlagSpec spec : specs.values()) {
      String needed = spec.flag().needs().replaceFirst(" .*", "");
      if (!needed.isEmpty() && !specs.containsKey(needed)) {
        throw new IllegalStateException(
            "--%s needs --%s, which is none".formatted(spec.name(), needed));
      }
    }
  }

  /** The flags of some records together; no name may stand in two of them. */
  public static Flags of(List<Class<? extends Record>> types) {
    return new Flags(List.copyOf(types), false);
  }

  /**
   * The same flags where another program's command line stands behind them: from {@code --} on, or
   * from the first word that is neither a flag nor a flag's value, all words are {@linkplain
   * Parsed#positional() positional}, with dashes or without.
   */
  public Flags beforeCommand() {
    return new Flags(types, true);
  }

  /** The flags of some records together; no name may stand in two of them. */
  @SafeVarargs
  public static Flags of(Class<? extends Record>... types) {
    List<Class<? extends Record>> list = new ArrayList<>();
    for (Class<? extends Record> type : types) {
      list.add(type);
    }
    return of(list);
  }

  /** One record from its flags: for tests and for programs that have no command line. */
  public static <R extends Record> R parse(Class<R> type, String... args) {
    return of(type).parse(args).get(type);
  }

  /** A record of so many flags that its constructor leaves the checks to another class. */
  public interface Checked {
    /**
     * Checks the flags against each other.
     *
     * @throws IllegalArgumentException in one sentence
     */
    void check();
  }

  /**
   * Checks a record that no command line made, such as one out of a file: as a command line's.
   *
   * @throws IllegalArgumentException in one sentence
   */
  public static <R extends Record> R checked(R record) {
    Map<String, Object> values = arguments(record);
    FlagSpec.of(record.getClass())
        .forEach(spec -> spec.refuseOtherChoices(values.get(spec.name().replace('-', '_'))));
    if (record instanceof Checked checked) {
      checked.check();
    }
    return record;
  }

  /** What a command line gave. */
  public static final class Parsed {
    private final Map<Class<?>, Record> records = new LinkedHashMap<>();
    private final Set<String> typed;
    private final List<String> positional;

    private Parsed(Set<String> typed, List<String> positional) {
      this.typed = typed;
      this.positional = positional;
    }

    /** Whether a flag was given. */
    public boolean isTyped(String flag) {
      return typed.contains(flag);
    }

    /** The record of a type that the flags were made of. */
    public <R extends Record> R get(Class<R> type) {
      return type.cast(records.get(type));
    }

    /** What was typed without a flag before it. */
    public List<String> positional() {
      return positional;
    }

    /**
     * This, where everything typed is a flag or its value.
     *
     * @throws IllegalArgumentException for what is not: one sentence
     */
    public Parsed withoutPositional() {
      if (!positional.isEmpty()) {
        throw new IllegalArgumentException(
            "'%s' stands behind no flag".formatted(positional.get(0)));
      }
      return this;
    }
  }

  /**
   * Parses a command line.
   *
   * @throws IllegalArgumentException in one sentence: an unknown flag (with the nearest known one),
   *     a flag of Megatron's without meaning here, a missing or malformed value, what a record's
   *     constructor or check refuses, or a flag that has no effect without another
   */
  public Parsed parse(String... args) {
    CommandLine line = commandLine(args);
    // A flag that stands twice counts where it stands last, lists too: Commons CLI would join them.
    Map<String, List<String>> typed = new HashMap<>();
    for (Option option : line.getOptions()) {
      typed.put(option.getLongOpt(), option.getValuesList());
    }
    Parsed parsed = new Parsed(Set.copyOf(typed.keySet()), line.getArgList());
    Map<String, Object> values = new HashMap<>();
    specs.forEach((name, spec) -> values.put(name, spec.parse(typed.get(name))));
    for (Class<? extends Record> type : types) {
      RecordComponent[] components = type.getRecordComponents();
      Object[] own =
          Arrays.stream(components).map(c -> values.get(FlagSpec.kebab(c.getName()))).toArray();
      Record record = construct(type, components, own);
      if (record instanceof Checked checked) {
        checked.check();
      }
      parsed.records.put(type, record);
    }
    specs.values().forEach(spec -> spec.refuseWithoutEffect(values));
    return parsed;
  }

  /** Whether {@code --help} is typed: as a flag of ours, not as a word behind {@code --}. */
  public boolean askForHelp(String... args) {
    return Arrays.stream(marked(args))
        .takeWhile(arg -> !arg.equals("--"))
        .anyMatch("--help"::equals);
  }

  /** Every flag's name. */
  public Set<String> names() {
    return specs.keySet();
  }

  /** The words with {@code --} before another program's, where it is not typed. */
  private String[] marked(String[] args) {
    if (!beforeCommand) {
      return args;
    }
    List<String> words = new ArrayList<>(Arrays.asList(args));
    for (int i = 0; i < words.size() && !words.get(i).equals("--"); i++) {
      Matcher flag = FLAG.matcher(words.get(i));
      if (!flag.matches()) {
        words.add(i, "--");
        break;
      }
      FlagSpec spec = specs.get(flag.group(2));
      if (spec != null && !spec.isSwitch() && words.get(i).indexOf('=') < 0) {
        i++;
      }
    }
    return words.toArray(new String[0]);
  }

  private CommandLine commandLine(String[] typed) {
    String[] args = marked(typed);
    refuseUnknown(args);
    Options options = new Options();
    for (FlagSpec spec : specs.values()) {
      Option.Builder option = Option.builder().longOpt(spec.name());
      if (spec.isList()) {
        option.hasArgs();
      } else if (!spec.isSwitch()) {
        option.hasArg();
      }
      options.addOption(option.get());
    }
    try {
      return DefaultParser.builder()
          .setAllowPartialMatching(false)
          .setStripLeadingAndTrailingQuotes(false)
          .get()
          .parse(options, args);
    } catch (UnrecognizedOptionException e) {
      String name = e.getOption().replaceFirst("^--([^=]*)=.*", "$1");
      throw new IllegalArgumentException(
          specs.containsKey(name) ? "--" + name + " takes no value" : unknown(e.getOption()), e);
    } catch (MissingArgumentException e) {
      throw new IllegalArgumentException(
          "--" + e.getOption().getLongOpt() + " needs a value behind it", e);
    } catch (ParseException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  /**
   * Commons CLI takes an unknown flag for a value of the flag before it, and one dash for two.
   * Values that begin with a dash and a letter stand behind an equals sign.
   */
  private void refuseUnknown(String[] args) {
    for (String arg : args) {
      if (arg.equals("--")) {
        return;
      }
      Matcher flag = FLAG.matcher(arg);
      if (flag.matches() && !(flag.group(1).equals("--") && specs.containsKey(flag.group(2)))) {
        throw new IllegalArgumentException(unknown(flag.group(1) + flag.group(2)));
      }
    }
  }

  private String unknown(String typed) {
    String name = typed.replaceFirst("^-+", "");
    String reason = MegatronFlags.reason(name);
    if (reason != null) {
      return "--" + name + " is a flag of Megatron's that has no place here: " + reason;
    }
    return "unknown flag "
        + typed
        + Nearest.to(name, specs.keySet()).map(n -> "; did you mean --" + n + "?").orElse("");
  }

  private static Record construct(
      Class<? extends Record> type, RecordComponent[] components, Object[] values) {
    Class<?>[] signature =
        Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
    try {
      Constructor<? extends Record> constructor = type.getDeclaredConstructor(signature);
      constructor.setAccessible(true);
      return constructor.newInstance(values);
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof IllegalArgumentException refused) {
        throw refused;
      }
      throw new IllegalStateException(type.getName(), e.getCause());
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(type.getName(), e);
    }
  }

  /** The help text: a flag a line, under its record's name. */
  public String help() {
    StringBuilder text = new StringBuilder();
    for (Class<? extends Record> type : types) {
      List<FlagSpec> flags = FlagSpec.of(type);
      if (!flags.isEmpty()) {
        text.append(type.getSimpleName().replaceAll("(?<=.)(Config|Flags|Options)$", ""))
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

  /** What a record's components are where nothing is typed, by name; required ones are left out. */
  public static Map<String, Object> defaults(Class<? extends Record> type) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (FlagSpec spec : FlagSpec.of(type)) {
      if (!spec.flag().required()) {
        values.put(spec.component().getName(), spec.parse(null));
      }
    }
    return values;
  }

  /** The values of a record by Megatron's argument names: {@code num_layers} and so on. */
  public static Map<String, Object> arguments(Record record) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (FlagSpec spec : FlagSpec.of(record.getClass())) {
      try {
        Method accessor = spec.component().getAccessor();
        accessor.setAccessible(true);
        values.put(spec.name().replace('-', '_'), accessor.invoke(record));
      } catch (ReflectiveOperationException e) {
        throw new IllegalStateException(spec.name(), e);
      }
    }
    return values;
  }

  /** The flags that would give this record again. */
  public static List<String> commandLine(Record record) {
    return commandLine(arguments(record));
  }

  /** The same without those that have their defaults. */
  public static List<String> shortCommandLine(Record record) {
    Map<String, Object> values = arguments(record);
    for (FlagSpec spec : FlagSpec.of(record.getClass())) {
      String name = spec.name().replace('-', '_');
      if (!spec.flag().required() && Objects.equals(values.get(name), spec.parse(null))) {
        values.remove(name);
      }
    }
    return commandLine(values);
  }

  private static List<String> commandLine(Map<String, Object> arguments) {
    List<String> line = new ArrayList<>();
    arguments.forEach(
        (name, value) -> {
          String flag = "--" + name.replace('_', '-');
          if (value instanceof Boolean on) {
            if (on) {
              line.add(flag);
            }
          } else if (value instanceof List<?> list) {
            if (!list.isEmpty()) {
              line.add(flag);
              list.forEach(item -> line.add(item.toString()));
            }
          } else if (value instanceof String text && text.startsWith("-")) {
            line.add(flag + "=" + text);
          } else if (value != null) {
            line.add(flag);
            line.add(value.toString());
          }
        });
    return line;
  }
}
