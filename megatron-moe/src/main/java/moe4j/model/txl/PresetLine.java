package moe4j.model.txl;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import moe4j.moe.gate.Gates;

/**
 * What a preset stands for beside a line that is typed. Where the two cannot go together the
 * preset's flag gives way, which is said: nobody has to know a flag that they have not typed.
 */
final class PresetLine {
  /** Flags that Megatron's router has, and a gate in its place does not heed. */
  private static final Set<String> ROUTERS =
      Set.of(
          "moe-aux-loss-coeff",
          "moe-z-loss-coeff",
          "moe-input-jitter-eps",
          "moe-expert-capacity-factor",
          "moe-token-drop-policy");

  private final String name;
  private final Map<String, List<String>> flags = new LinkedHashMap<>();
  private final Map<String, List<String>> typed;
  private final Consumer<String> say;

  private PresetLine(String name, List<String> words, List<String> typed, Consumer<String> say) {
    this.name = name;
    this.flags.putAll(flags(words));
    this.typed = flags(typed);
    this.say = say;
  }

  /**
   * A preset's words beside those that are typed.
   *
   * @param say is told in a sentence what gives way
   */
  static List<String> of(
      String name, List<String> words, List<String> typed, Consumer<String> say) {
    PresetLine line = new PresetLine(name, words, typed, say);
    line.data();
    line.lengthOfTheRun();
    line.lengthsOfTheModel();
    line.experts();
    List<String> all = new ArrayList<>();
    line.flags.forEach(
        (flag, values) -> {
          all.add("--" + flag);
          all.addAll(values);
        });
    return all;
  }

  /** Values by flag; of one that stands twice the last. */
  private static Map<String, List<String>> flags(List<String> words) {
    Map<String, List<String>> flags = new LinkedHashMap<>();
    List<String> values = new ArrayList<>();
    for (String word : words) {
      if (word.startsWith("--")) {
        int equals = word.indexOf('=');
        values = new ArrayList<>();
        flags.put(word.substring(2, equals < 0 ? word.length() : equals), values);
        if (equals >= 0) {
          values.add(word.substring(equals + 1));
        }
      } else {
        values.add(word);
      }
    }
    return flags;
  }

  /** Whether a flag is the preset's alone. */
  private boolean isPresets(String flag) {
    return flags.containsKey(flag) && !typed.containsKey(flag);
  }

  /** A flag's number, typed or the preset's, or what it is without either; -1 for no number. */
  private int number(String flag, int otherwise) {
    List<String> values = typed.getOrDefault(flag, flags.get(flag));
    if (values == null) {
      return otherwise;
    }
    try {
      return values.isEmpty() ? -1 : Integer.parseInt(values.get(0));
    } catch (NumberFormatException e) {
      // It is refused where all flags are read.
      return -1;
    }
  }

  private void set(String flag, int value, String because) {
    say.accept(
        "--preset %s: --%s is %d in place of %s, because of --%s %s"
            .formatted(
                name,
                flag,
                value,
                String.join(" ", flags.get(flag)),
                because,
                String.join(" ", typed.get(because))));
    flags.put(flag, List.of(String.valueOf(value)));
  }

  private void drop(String flag, String because) {
    if (isPresets(flag)) {
      say.accept(
          "--preset %s: --%s %s is left out, because of --%s %s"
              .formatted(
                  name,
                  flag,
                  String.join(" ", flags.get(flag)),
                  because,
                  String.join(" ", typed.get(because)))
              .strip());
      flags.remove(flag);
    }
  }

  /** Data of one's own take the place of the preset's, as they are meant to. */
  private void data() {
    if (typed.containsKey("data-file")) {
      flags.remove("data");
    }
  }

  private void lengthOfTheRun() {
    int steps = number("max-step", -1);
    if (!typed.containsKey("max-step") || steps < 1) {
      return;
    }
    if (isPresets("warmup-step") && number("warmup-step", 0) >= steps) {
      set("warmup-step", (steps - 1) / 2, "max-step");
    }
    if (isPresets("log-interval") && 2L * number("log-interval", 1) > steps) {
      set("log-interval", Math.max(1, steps / 4), "max-step");
    }
  }

  /** An evaluation's memory is what is left of the training's memory and targets. */
  private void lengthsOfTheModel() {
    int target = number("tgt-len", 0);
    int memory = number("mem-len", 0);
    if (isPresets("eval-tgt-len")
        && target > 0
        && memory > 0
        && number("eval-tgt-len", 0) >= target + memory) {
      set("eval-tgt-len", target, typed.containsKey("tgt-len") ? "tgt-len" : "mem-len");
    }
  }

  private void experts() {
    if (typed.containsKey("moe-router-topk")) {
      drop("top-k", "moe-router-topk");
    }
    for (String size : List.of("hidden-hidden-size", "fmoefy")) {
      if (typed.containsKey(size)) {
        drop("moe-ffn-hidden-size", size);
      }
    }
    for (String flag : typed.keySet()) {
      if (ROUTERS.contains(flag)
          || (flag.startsWith("moe-router-") && !flag.equals("moe-router-topk"))) {
        drop("balance-strategy", flag);
      }
    }
    List<String> strategy = typed.get("balance-strategy");
    if (strategy != null) {
      drop("moe-aux-loss-coeff", "balance-strategy");
      Integer only =
          Gates.builtIn(String.join(" ", strategy)).map(gate -> gate.choice().only()).orElse(null);
      if (only != null && isPresets("top-k") && number("top-k", only) != only) {
        set("top-k", only, "balance-strategy");
      }
    }
    if (List.of("none").equals(typed.get("moe-router-load-balancing-type"))) {
      drop("moe-aux-loss-coeff", "moe-router-load-balancing-type");
    }
  }
}
