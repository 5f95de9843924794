package moe4j.examples.gpt;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import moe4j.cli.Command;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.training.Pretraining;
import moe4j.training.RunConfig;
import moe4j.training.ShutdownSignal;
import moe4j.training.TrainState;
import moe4j.training.TrainingListener;

/**
 * {@code moe4j bench gpt}: the time of a training step, taken in the loop that {@code pretrain-gpt}
 * runs, on the data it would read.
 *
 * <pre>
 * moe4j bench gpt --num-layers 4 --hidden-size 256 --num-attention-heads 4 --seq-length 256 \
 *   --micro-batch-size 8 --train-iters 50 --log-interval 1 --lr 3e-4 \
 *   --tokenizer-type ByteTokenizer --data-path corpus_text_document
 * </pre>
 */
public final class BenchCommand implements Command {

  /** Its flags beside those of {@code pretrain-gpt}. */
  public record Options(
      @Flag(help = "first steps that do not count", value = "10") int warmupSteps) {

    /** Checks ranges. */
    public Options {
      if (warmupSteps < 1) {
        throw new IllegalArgumentException(
            "--warmup-steps %d: the first step at least is no measure".formatted(warmupSteps));
      }
    }
  }

  @Override
  public String name() {
    return "bench";
  }

  @Override
  public String summary() {
    return "time training steps, with the flags of pretrain-gpt; a figure a log interval";
  }

  @Override
  public String positional() {
    return "gpt";
  }

  @Override
  public Flags flags() {
    return RunConfig.flags(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    if (!parsed.positional().equals(List.of("gpt"))) {
      throw new IllegalArgumentException(
          "what can be timed is gpt, not '%s'".formatted(String.join(" ", parsed.positional())));
    }
    int warmup = parsed.get(Options.class).warmupSteps();
    RunConfig config = RunConfig.of(parsed);
    int steps = config.training().steps();
    int interval = config.logging().logInterval();
    if (steps / interval <= (warmup + interval - 1) / interval) {
      throw new IllegalArgumentException(
          "--train-iters %d leaves no whole --log-interval %d behind --warmup-steps %d"
              .formatted(steps, interval, warmup));
    }
    StepTimes times = new StepTimes(warmup);
    Pretraining.run(config, new GptTask(config), ShutdownSignal.install(), times);
    System.out.println(
        times.summary((long) config.training().globalBatchSize() * config.model().seqLength()));
    return 0;
  }

  /** Seconds a step, one figure for each interval that begins behind the warm-up. */
  static final class StepTimes implements TrainingListener {
    private final int warmup;
    private final List<Double> seconds = new ArrayList<>();

    StepTimes(int warmup) {
      this.warmup = warmup;
    }

    @Override
    public void interval(Interval interval) {
      if (interval.state().iteration() - interval.timed() >= warmup) {
        seconds.add(interval.seconds() / interval.timed());
      }
    }

    /** The median of the figures, the range they lie in, and what it comes to in tokens. */
    String summary(long tokensPerStep) {
      if (seconds.isEmpty()) {
        return "no step was timed";
      }
      List<Double> sorted = seconds.stream().sorted().toList();
      int n = sorted.size();
      double median = (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
      return String.format(
          Locale.ROOT,
          "step time: median %.1f ms, %.1f to %.1f over %d figures | %.0f tokens/s",
          median * 1e3,
          sorted.get(0) * 1e3,
          sorted.get(n - 1) * 1e3,
          n,
          tokensPerStep / median);
    }

    @Override
    public void validation(Validation validation) {}

    @Override
    public void saved(TrainState state, String directory) {}

    @Override
    public void say(String sentence) {}
  }
}
