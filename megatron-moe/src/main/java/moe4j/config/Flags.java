package moe4j.config;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Option;
import org.apache.commons.cli.Options;
import org.apache.commons.cli.ParseException;
import org.apache.commons.cli.UnrecognizedOptionException;

/** The flags of a command: the components of its records, parsed by Commons CLI. */
public final class Flags {
  private final List<Class<? extends Record>> types;
  private final Map<String, FlagSpec> specs = new LinkedHashMap<>();
  private final boolean beforeCommand;
  private final boolean megatron;

  private Flags(List<Class<? extends Record>> types, boolean beforeCommand, boolean megatron) {
    this.types = types;
    this.beforeCommand = beforeCommand;
    this.megatron = megatron;
    for (Class<? extends Record> type : types) {
      for (FlagSpec spec : FlagSpec.of(type)) {
        FlagSpec other = specs.put(spec.name(), spec);
        if (other != null) {
          throw new IllegalStateException(
              "--%s stands in two records, %s and %s"
                  .formatted(spec.name(), other.record().getName(), type.getName()));
        }
      }
    }
    for (FlagSpec spec : specs.values()) {
      for (String other : List.of(spec.needed(), spec.flag().idleBeside())) {
        if (!other.isEmpty() && !specs.containsKey(other)) {
          throw new IllegalStateException(
              "--%s depends on --%s, which is not a flag".formatted(spec.name(), other));
        }
      }
    }
  }

  /** The flags of some records together; no name may stand in two of them. */
  public static Flags of(List<Class<? extends Record>> types) {
    return new Flags(List.copyOf(types), false, false);
  }

  /**
   * The same flags, followed by another program's command line: from {@code --} on, or from the
   * first word that is neither a flag nor a flag's value, all words are {@linkplain
   * Parsed#positional() positional}, with dashes or without.
   */
  public Flags beforeCommand() {
    return new Flags(types, true, megatron);
  }

  /**
   * The same flags, which take a line of Megatron's: flags of its that ask for what is done anyway,
   * or that have no effect here, are {@linkplain Parsed#withoutEffect() told} and not refused.
   */
  public Flags withMegatrons() {
    return new Flags(types, beforeCommand, true);
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

  /** One record from words that somebody typed; code of its own has the record's builder. */
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

  /** The flags and words of a parsed command line. */
  public static final class Parsed {
    private final Map<Class<?>, Record> records = new LinkedHashMap<>();
    private final Set<String> typed;
    private final List<String> positional;
    private final List<String> withoutEffect;
    private boolean whole;

    private Parsed(Set<String> typed, List<String> positional, List<String> withoutEffect) {
      this.typed = typed;
      this.positional = positional;
      this.withoutEffect = withoutEffect;
    }

    /** Flags that were taken and have no effect, as typed. */
    public List<String> withoutEffect() {
      return withoutEffect;
    }

    /** Makes a record, unless something is wrong with one of its flags. */
    private void add(Class<? extends Record> type, Map<String, Object> values, Set<String> faulty) {
      if (FlagSpec.of(type).stream().map(FlagSpec::name).noneMatch(faulty::contains)) {
        records.put(type, FlagRecords.record(type, values));
      }
    }

    /** Whether a flag was given. */
    public boolean isTyped(String flag) {
      return typed.contains(flag);
    }

    /** Whether all records are there: none was refused by itself. */
    public boolean isWhole() {
      return whole;
    }

    /** The record of a type that the flags were made of; null where it was refused. */
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
            "'%s' is neither a flag nor a flag's value".formatted(positional.get(0)));
      }
      return this;
    }
  }

  /**
   * Parses a command line. All that is wrong with it is told at once: unknown flags (with the
   * nearest known one), flags of Megatron's that would be bent here, missing and malformed values,
   * what a record's constructor or check refuses, and flags that have no effect without another.
   *
   * @throws RefusedLine with a sentence for each fault
   */
  public Parsed parse(String... args) {
    return parse(args, rest -> {});
  }

  /**
   * The same with a check of the records together, so that what it refuses stands in the same
   * answer. Records that were refused by themselves are not {@linkplain Parsed#isWhole there}.
   *
   * @throws RefusedLine with a sentence for each fault
   */
  public Parsed parse(String[] args, Consumer<Parsed> check) {
    Faults faults = new Faults();
    TypedLine typedLine = new TypedLine(marked(args), specs, megatron, faults);
    CommandLine line = commandLine(typedLine.words(), faults);
    // A flag that stands twice counts where it stands last, lists too: Commons CLI would join them.
    Map<String, List<String>> typed = new HashMap<>();
    for (Option option : line.getOptions()) {
      typed.put(option.getLongOpt(), option.getValuesList());
    }
    List<String> withoutEffect = new ArrayList<>(typedLine.idle());
    Parsed parsed = new Parsed(Set.copyOf(typed.keySet()), line.getArgList(), withoutEffect);
    Map<String, Object> values = new HashMap<>();
    Set<String> faulty = typedLine.faulty();
    specs.forEach(
        (name, spec) -> {
          boolean named = faulty.contains(name) && !typed.containsKey(name);
          if (named || !faults.none(() -> values.put(name, spec.parse(typed.get(name))))) {
            faulty.add(name);
          }
        });
    for (Class<? extends Record> type : types) {
      // A refused record is not checked against others: one sentence for each record is enough.
      if (!faults.none(() -> parsed.add(type, values, faulty))) {
        FlagSpec.of(type).forEach(spec -> faulty.add(spec.name()));
      }
    }
    specs
        .values()
        .forEach(spec -> refuseWithoutEffect(spec, values, faulty, withoutEffect, faults));
    typedLine.refuseAlone(values);
    parsed.whole = parsed.records.size() == types.size();
    faults.none(() -> check.accept(parsed));
    faults.refuse();
    return parsed;
  }

  private static void refuseWithoutEffect(
      FlagSpec spec,
      Map<String, Object> values,
      Set<String> faulty,
      List<String> withoutEffect,
      Faults faults) {
    if (faulty.contains(spec.name())
        || faulty.contains(spec.needed())
        || faulty.contains(spec.flag().idleBeside())) {
      return;
    }
    if (!spec.isTolerated()) {
      faults.none(() -> spec.refuseWithoutEffect(values));
    }
    if (spec.isIdleOnCpu(values) || (spec.isTolerated() && spec.isWithoutEffect(values))) {
      Object value = values.get(spec.name());
      withoutEffect.add("--" + spec.name() + (spec.isSwitch() ? "" : " " + value));
    }
  }

  /**
   * Whether help is asked for, by {@code --help} or {@code -h}; a word behind {@code --} is not.
   */
  public boolean askForHelp(String... args) {
    return Arrays.stream(marked(args))
        .takeWhile(arg -> !arg.equals("--"))
        .anyMatch(arg -> arg.equals("--help") || arg.equals("-h"));
  }

  /** Whether another program's command line follows these flags. */
  public boolean takesCommand() {
    return beforeCommand;
  }

  /** Whether a word is a flag that takes the next word as its value. */
  public boolean wantsValue(String word) {
    FlagSpec spec = word.startsWith("--") ? specs.get(word.substring(2)) : null;
    return spec != null && !spec.isSwitch();
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
      Matcher flag = TypedLine.FLAG.matcher(words.get(i));
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

  private CommandLine commandLine(String[] args, Faults faults) {
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
      faults.add("unknown flag " + e.getOption());
    } catch (ParseException e) {
      faults.add(e.getMessage());
    }
    // What stands where no flag is looked for, such as a number with a dash: nothing can be made
    // of the rest.
    throw new RefusedLine(faults.sentences());
  }

  /** The help text: a flag a line, under its record's name. */
  public String help() {
    return HelpText.of(types);
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
      values.put(spec.name().replace('-', '_'), spec.of(record));
    }
    return values;
  }

  /** The flags that would give this record again. */
  public static List<String> commandLine(Record record) {
    return commandLine(arguments(record));
  }

  /** The same without those that have their defaults. */
  public static List<String> shortCommandLine(Record record) {
    return commandLine(differing(record));
  }

  /** The values of a record that are not their flags' defaults, by Megatron's argument names. */
  public static Map<String, Object> differing(Record record) {
    Map<String, Object> values = arguments(record);
    for (FlagSpec spec : FlagSpec.of(record.getClass())) {
      String name = spec.name().replace('-', '_');
      if (!spec.flag().required() && Objects.equals(values.get(name), spec.parse(null))) {
        values.remove(name);
      }
    }
    return values;
  }

  private static List<String> commandLine(Map<String, Object> arguments) {
    List<String> line = new ArrayList<>();
    arguments.forEach((name, value) -> words(name, value, line));
    return line;
  }

  /** Adds the words that give an argument a value; none for one that is off or has no value. */
  public static void words(String argument, Object value, List<String> line) {
    String flag = "--" + argument.replace('_', '-');
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
  }
}
