package moe4j.config;

import static java.util.regex.Pattern.DOTALL;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A command line, gone through before it is parsed: flags that are not ours are taken out of it,
 * and what is wrong with them is kept, so that the parser meets no flag that would end it.
 */
final class TypedLine {
  /** A flag as typed: its dashes, its name, perhaps a value. Negative numbers are not flags. */
  static final Pattern FLAG = Pattern.compile("(--?)(\\p{Alpha}[^\\s=]*)(?:=(.*))?", DOTALL);

  private final Map<String, FlagSpec> specs;
  private final boolean megatron;
  private final Faults faults;
  private final List<String> words = new ArrayList<>();
  private final List<String> idle = new ArrayList<>();
  private final Set<String> faulty = new HashSet<>();

  /** What flags are taken beside alone: FLAG=VALUE by the flag that asks for it. */
  private final Map<String, String> beside = new LinkedHashMap<>();

  /**
   * Goes through a line.
   *
   * @param megatron whether flags of Megatron's without effect are taken
   * @param faults gets what is wrong
   */
  TypedLine(String[] args, Map<String, FlagSpec> specs, boolean megatron, Faults faults) {
    this.specs = specs;
    this.megatron = megatron;
    this.faults = faults;
    int at = 0;
    while (at < args.length && !args[at].equals("--")) {
      Matcher flag = FLAG.matcher(args[at]);
      if (!flag.matches()) {
        words.add(args[at++]);
        continue;
      }
      List<String> behind = new ArrayList<>();
      if (flag.group(3) != null) {
        behind.add(flag.group(3));
      }
      int next = at + 1;
      while (flag.group(3) == null && next < args.length && isValue(args[next])) {
        behind.add(args[next++]);
      }
      take(flag.group(1), flag.group(2), flag.group(3) != null, behind);
      at = next;
    }
    words.addAll(List.of(args).subList(at, args.length));
  }

  private static boolean isValue(String word) {
    return !word.equals("--") && !FLAG.matcher(word).matches();
  }

  /** The line without what is not ours. */
  String[] words() {
    return words.toArray(new String[0]);
  }

  /** The flags that are taken and have no effect, each with the words after it. */
  List<String> idle() {
    return idle;
  }

  /** Names of flags of ours that something is wrong with. */
  Set<String> faulty() {
    return faulty;
  }

  /** Refuses flags of Megatron's that have their place beside others alone, which are not there. */
  void refuseAlone(Map<String, Object> values) {
    beside.forEach((name, other) -> refuseAlone(name, other, values));
  }

  private void refuseAlone(String name, String other, Map<String, Object> values) {
    String[] flag = other.split("=", 2);
    if (flag[1].equals("false") && Boolean.TRUE.equals(values.get(flag[0]))) {
      faults.add("--%s and --%s exclude each other".formatted(name, flag[0]));
    } else if (values.containsKey(flag[0])
        && !flag[1].equals(String.valueOf(values.get(flag[0])))) {
      faults.add(
          "--%s has its place beside --%s %s alone, not %s"
              .formatted(name, flag[0], flag[1], values.get(flag[0])));
    }
  }

  private void take(String dashes, String name, boolean equals, List<String> behind) {
    FlagSpec spec = dashes.equals("--") ? specs.get(name) : null;
    MegatronFlags.Row row = spec == null ? MegatronFlags.row(name) : null;
    if (spec != null) {
      ours(spec, equals, behind);
    } else if (row != null) {
      megatrons(name, row, equals, behind);
    } else {
      faults.add("unknown flag " + dashes + name + meant(name));
    }
  }

  /** What may have been meant by a name that no flag has: words behind it, or none. */
  private String meant(String name) {
    return specs.values().stream()
        .filter(spec -> List.of(spec.flag().insteadOf()).contains(name))
        .findFirst()
        .map(spec -> "; this command calls it --" + spec.name())
        .or(() -> Nearest.to(name, specs.keySet()).map(n -> "; did you mean --" + n + "?"))
        .orElse("");
  }

  private void ours(FlagSpec spec, boolean equals, List<String> behind) {
    String flag = "--" + spec.name();
    if (spec.isSwitch() && equals) {
      faults.add(flag + " takes no value");
      faulty.add(spec.name());
    } else if (!spec.isSwitch() && behind.isEmpty()) {
      faults.add(flag + " needs a value behind it");
      faulty.add(spec.name());
    } else if (equals) {
      words.add(flag + "=" + behind.get(0));
    } else {
      words.add(flag);
      words.addAll(behind);
    }
  }

  private void megatrons(String name, MegatronFlags.Row row, boolean equals, List<String> behind) {
    String flag = "--" + name;
    if (!megatron || !row.isTaken(behind)) {
      faults.add(refusal(name, row, behind));
      return;
    }
    if (row.arity() == MegatronFlags.Arity.SWITCH && equals) {
      faults.add(flag + " takes no value");
      return;
    }
    if (row.arity() != MegatronFlags.Arity.SWITCH && behind.isEmpty()) {
      faults.add(flag + " needs a value behind it");
      return;
    }
    int own =
        switch (row.arity()) {
          case SWITCH -> 0;
          case VALUE -> 1;
          case LIST -> behind.size();
        };
    if (!row.words().isEmpty() && !specs.containsKey(row.words().get(0).substring(2))) {
      faults.add("--%s: this command has no %s".formatted(name, row.words().get(0)));
      return;
    } else if (!row.words().isEmpty()) {
      words.addAll(row.words());
    } else {
      idle.add(String.join(" ", append(flag, behind.subList(0, own))));
    }
    if (row.beside() != null) {
      beside.put(name, row.beside());
    }
    words.addAll(behind.subList(own, behind.size()));
  }

  private static List<String> append(String first, List<String> more) {
    List<String> all = new ArrayList<>(List.of(first));
    all.addAll(more);
    return all;
  }

  /** Why a flag of Megatron's is refused; with its value, where another one would be taken. */
  static String refusal(String name, MegatronFlags.Row row, List<String> behind) {
    String value = row.values() == null ? "" : " " + String.join(" ", behind);
    return "--%s%s is a flag of Megatron's that has no place here: %s"
        .formatted(name, value, row.reason());
  }
}
