package moe4j.model.txl;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import moe4j.config.Flag;

/**
 * Experiments by name. A preset stands for flags, before those that are typed: of a flag that
 * stands twice the last counts.
 */
public final class Presets {
  private static final Map<String, String> FLAGS = new LinkedHashMap<>();

  static {
    // Upstream's run_enwik8_base.sh.
    String base =
        "--data corpora/enwik8 --n-layer 12 --d-model 512 --n-head 8 --d-head 64 --d-inner 2048"
            + " --dropout 0.1 --dropatt 0.0 --optim adam --lr 0.00025 --warmup-step 0"
            + " --max-step 400000 --tgt-len 512 --mem-len 512 --eval-tgt-len 128 --batch-size 22"
            + " --device cuda --bf16";
    FLAGS.put("enwik8-base", base + " --work-dir runs/enwik8-base --run-name dense");
    // FastMoE's run_enwik8_base_moe.sh: 64 experts, two a position, each of half the size.
    FLAGS.put(
        "enwik8-base-moe64",
        base
            + " --num-experts 64 --top-k 2 --moe-ffn-hidden-size 1024 --balance-strategy naive"
            + " --add-expert-bias --work-dir runs/enwik8-base-moe64 --run-name"
            + " 64-experts");
    // The same in small, for a CPU: minutes on two cores.
    String cpu =
        "--n-layer 2 --d-model 128 --n-head 4 --d-head 32 --d-inner 512 --pre-lnorm"
            + " --init-std 0.05 --lr 0.004 --warmup-step 40 --max-step 1000 --tgt-len 64"
            + " --mem-len 64 --eval-tgt-len 64 --batch-size 16 --log-interval 50"
            + " --eval-interval 200 --max-eval-steps 40";
    FLAGS.put("cpu", cpu + " --work-dir runs/txl-cpu --run-name dense");
    FLAGS.put(
        "cpu-moe16",
        cpu
            + " --num-experts 16 --top-k 2 --moe-ffn-hidden-size 256 --moe-aux-loss-coeff 0.02"
            + " --add-expert-bias --work-dir runs/txl-cpu-moe16 --run-name 16-experts");
  }

  /** The flag. */
  public record Options(
      @Flag(
              help = "an experiment's flags, before those that are typed",
              otherwise = "none",
              choices = {"enwik8-base", "enwik8-base-moe64", "cpu", "cpu-moe16"})
          String preset) {}

  private Presets() {}

  /**
   * The command line with what its {@code --preset} stands for in front.
   *
   * @param say is told in a sentence which flags of the preset give way to what is typed
   */
  static String[] expand(String[] args, Consumer<String> say) {
    List<String> line = new ArrayList<>();
    for (int i = 0; i < args.length; i++) {
      String name =
          args[i].startsWith("--preset=")
              ? args[i].substring("--preset=".length())
              : args[i].equals("--preset") && i + 1 < args.length ? args[i + 1] : null;
      if (name != null && FLAGS.containsKey(name)) {
        line.addAll(
            PresetLine.of(
                name, Arrays.asList(FLAGS.get(name).split(" ")), Arrays.asList(args), say));
      }
    }
    line.addAll(Arrays.asList(args));
    return line.toArray(new String[0]);
  }

  /** Their names. */
  static List<String> names() {
    return List.copyOf(FLAGS.keySet());
  }
}
