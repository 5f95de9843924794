package moe4j.training.record;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import moe4j.record.ExpertLoad;
import moe4j.record.IterationRecord;
import moe4j.record.MetricsWriter;
import moe4j.record.RunDescription;
import moe4j.record.ValidationRecord;

/** Runs as a small GPT has them, made up: noisy losses that fall as a power of the step. */
public final class MadeUpRun {
  static final int GLOBAL_BATCH = 16;
  static final int SEQ_LENGTH = 256;
  static final int EVERY = 10;

  private MadeUpRun() {}

  public static RunDescription config(String name, int experts) {
    Map<String, Object> arguments = new LinkedHashMap<>();
    arguments.put("num_layers", 4);
    arguments.put("hidden_size", 256);
    arguments.put("num_attention_heads", 4);
    arguments.put("seq_length", SEQ_LENGTH);
    arguments.put("global_batch_size", GLOBAL_BATCH);
    arguments.put("lr", 1e-3);
    arguments.put("bf16", true);
    arguments.put("data_path", List.of("corpus_text_document"));
    arguments.put("num_experts", experts == 0 ? null : experts);
    arguments.put("moe_router_topk", 2);
    arguments.put("moe_aux_loss_coeff", experts == 0 ? 0.0 : 1e-2);
    arguments.put("run_name", name);
    return new RunDescription(
        name,
        arguments,
        experts == 0 ? 3_420_672 : 3_420_672 + 1_050_000L * (experts - 2),
        3_420_672,
        SEQ_LENGTH,
        Map.of("device", "CPU, 2 threads", "java", "17.0.15"));
  }

  public static ExpertLoad load(int step, int layers, int experts, Random random) {
    List<ExpertLoad.Layer> all = new ArrayList<>();
    for (int l = 0; l < layers; l++) {
      Long[] tokens = new Long[experts];
      for (int e = 0; e < experts; e++) {
        double skew = Math.sin(2.1 * e + 1.7 * l) * Math.exp(-step / 150.0);
        double balanced = 1 + 0.06 * Math.sin(e + l) + 0.04 * random.nextGaussian();
        tokens[e] = Math.max(0, Math.round(8192 * (balanced + 0.9 * skew)));
      }
      double decided = 1 - Math.exp(-step / 120.0);
      double entropy = Math.log(experts) * (1 - (0.3 + 0.02 * l) * decided);
      Map<String, Double> losses = new LinkedHashMap<>();
      losses.put("load_balancing_loss", 1 + (0.1 + 0.05 * l) * Math.exp(-step / 150.0));
      losses.put("z_loss", 0.3 + 0.05 * l + 0.02 * random.nextDouble());
      all.add(
          new ExpertLoad.Layer(
              l,
              Arrays.asList(tokens),
              0,
              losses,
              Map.of(ExpertLoad.ROUTER_ENTROPY, entropy + 0.01 * random.nextGaussian())));
    }
    return new ExpertLoad(all);
  }

  public static IterationRecord iteration(int step, int steps, int experts, Random random) {
    double loss = loss(step, experts) * (1 + 0.02 * random.nextGaussian());
    Map<String, Double> losses = new LinkedHashMap<>();
    losses.put("lm loss", loss);
    ExpertLoad.Summary summary = null;
    Map<String, Double> figures = Map.of();
    if (experts > 0) {
      losses.put("load_balancing_loss", 1 + 0.2 * Math.exp(-step / 150.0));
      losses.put("z_loss", 0.3 + 0.1 * random.nextDouble());
      summary = load(step, 4, experts, random).summary();
      figures = Map.of(ExpertLoad.ROUTER_ENTROPY, 0.8 * Math.log(experts));
    }
    return new IterationRecord(
        step,
        steps,
        (long) step * GLOBAL_BATCH,
        0,
        420 + 20 * random.nextGaussian(),
        null,
        1e-3 * Math.min(1, step / 50.0) * (1 - 0.9 * step / steps),
        GLOBAL_BATCH,
        losses,
        1.0,
        0.4 + 2 * Math.exp(-step / 40.0) + 0.05 * random.nextDouble(),
        null,
        null,
        0,
        0,
        9700 + 200 * random.nextGaussian(),
        null,
        null,
        1834,
        summary,
        figures,
        null);
  }

  static double loss(int step, int experts) {
    return 1.1 + (experts > 0 ? -0.07 : 0) + 4.4 * Math.pow(1 + step / 12.0, -0.75);
  }

  static ValidationRecord validation(int step, int experts, Random random) {
    return new ValidationRecord(
        step,
        (long) step * GLOBAL_BATCH,
        ValidationRecord.Set.TRAINING,
        Map.of("lm loss", loss(step, experts) + 0.04 + 0.004 * random.nextGaussian()));
  }

  /** A whole run; {@code secondsAStep} of a clock that only ticks here. */
  public static Path write(
      Path directory, String name, int experts, int steps, double secondsAStep, Random random)
      throws IOException {
    long[] nanos = {0};
    try (MetricsWriter writer =
        MetricsWriter.create(directory, config(name, experts), () -> nanos[0])) {
      for (int step = 1; step <= steps; step++) {
        nanos[0] += (long) (secondsAStep * (1 + 0.05 * random.nextGaussian()) * 1e9);
        long samples = (long) step * GLOBAL_BATCH;
        if (step % EVERY == 0 || step == 1) {
          writer.train(iteration(step, steps, experts, random));
          if (experts > 0) {
            writer.expertLoad(step, samples, load(step, 4, experts, random));
          }
        }
        if (step % 50 == 0) {
          writer.validation(validation(step, experts, random));
        }
      }
      writer.end(steps, (long) steps * GLOBAL_BATCH, "all steps done");
    }
    return directory;
  }

  public static void delete(Path directory) throws IOException {
    try (Stream<Path> paths = Files.walk(directory)) {
      for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
  }
}
