package moe4j.record;

import static moe4j.record.PythonFormat.fixed;
import static moe4j.record.PythonFormat.scientific;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Lines in the words and the columns of Megatron-LM's own log, so that what parses its output
 * parses ours. Figures that Megatron does not print follow those that it does.
 */
public final class MegatronLog {
  private static final DateTimeFormatter STAMP =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSSSSS", Locale.ROOT);

  private MegatronLog() {}

  /** The line of a log interval. A loss that is not a number is left out, as Megatron does. */
  public static String training(IterationRecord it, LocalDateTime now) {
    StringBuilder line = new StringBuilder(512);
    line.append(" [").append(STAMP.format(now)).append(']');
    line.append(pad(" iteration %8d/%8d |", it.iteration(), it.trainIters()));
    line.append(pad(" consumed samples: %12d |", it.consumedSamples()));
    if (it.skippedSamples() > 0) {
      line.append(pad(" skipped samples: %12d |", it.skippedSamples()));
    }
    put(line, "elapsed time per iteration (ms)", fixed(it.millisPerIteration(), 1));
    if (it.teraflops() != null) {
      put(line, "throughput per GPU (TFLOP/s/GPU)", fixed(it.teraflops(), 1));
    }
    if (it.learningRate() != null) {
      put(line, "learning rate", scientific(it.learningRate(), 6));
    }
    line.append(pad(" global batch size: %5d |", it.globalBatchSize()));
    it.losses()
        .forEach(
            (key, loss) -> {
              if (loss >= 0) {
                put(line, key, scientific(loss, 6));
              }
            });
    put(line, "loss scale", fixed(it.lossScale(), 1));
    if (it.gradNorm() != null) {
      put(line, "grad norm", fixed(it.gradNorm(), 3));
    }
    if (it.numZeros() != null) {
      put(line, "num zeros", Long.toString(it.numZeros()));
    }
    if (it.paramsNorm() != null) {
      put(line, "params norm", fixed(it.paramsNorm(), 3));
    }
    line.append(pad(" number of skipped iterations: %3d |", it.skippedIterations()));
    line.append(pad(" number of nan iterations: %3d |", it.nanIterations()));
    appendOurs(line, it);
    return line.toString();
  }

  private static void appendOurs(StringBuilder line, IterationRecord it) {
    put(line, "tokens/s", fixed(it.tokensPerSecond(), 1));
    if (it.mfu() != null) {
      put(line, "MFU", fixed(it.mfu(), 1) + "% of " + it.peak());
    }
    put(line, "live native pointers", Long.toString(it.livePointers()));
    if (it.experts() != null) {
      put(line, "max/mean expert load", fixed(it.experts().maxOverMean(), 3));
      put(line, "expert load CV", fixed(it.experts().cv(), 3));
      put(line, "dropped share", fixed(it.experts().droppedShare(), 4));
    }
    it.figures().forEach((name, value) -> put(line, name, fixed(value, 3)));
  }

  private static void put(StringBuilder line, String key, String value) {
    line.append(' ').append(key).append(": ").append(value).append(" |");
  }

  private static String pad(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  /** An evaluation's line between its two lines of dashes. */
  public static List<String> validation(ValidationRecord record) {
    StringBuilder line =
        new StringBuilder(" validation loss at iteration ")
            .append(record.iteration())
            .append(record.set().suffix)
            .append(" | ");
    record
        .losses()
        .forEach(
            (key, loss) -> {
              double ppl = ValidationRecord.perplexity(loss);
              line.append(key).append(" value: ").append(scientific(loss, 6)).append(" | ");
              line.append(key).append(" PPL: ").append(scientific(ppl, 6)).append(" | ");
            });
    String dashes = "-".repeat(line.length() + 1);
    return List.of(dashes, line.toString(), dashes);
  }

  /**
   * Every argument on a line of its own, sorted without regard to case, with Python's words for
   * values.
   *
   * @param arguments by Megatron's names, {@code num_layers}
   */
  public static List<String> arguments(Map<String, ?> arguments) {
    List<String> lines = new ArrayList<>();
    arguments.forEach(
        (name, value) ->
            lines.add(
                "  %s %s %s"
                    .formatted(
                        name,
                        ".".repeat(Math.max(0, 48 - name.length())),
                        PythonFormat.str(value))));
    lines.sort(Comparator.comparing(line -> line.toLowerCase(Locale.ROOT)));
    lines.add(0, "------------------------ arguments ------------------------");
    lines.add("-------------------- end of arguments ---------------------");
    return lines;
  }

  /** The lines with the samples that each split needs; null means as many as there are. */
  public static List<String> targetSizes(Long train, Long validation, Long test) {
    return List.of(
        " > datasets target sizes (minimum size):",
        "    train:      " + PythonFormat.str(train),
        "    validation: " + PythonFormat.str(validation),
        "    test:       " + PythonFormat.str(test));
  }

  /** The line that says how far the vocabulary was padded. */
  public static String paddedVocabulary(int vocabulary, int padded) {
    return " > padded vocab (size: %s) with %s dummy tokens (new size: %s)"
        .formatted(vocabulary, padded - vocabulary, padded);
  }

  /**
   * The number of parameters on one rank, as Megatron-LM has said it for years; its newest form
   * names a third axis, which nobody without that form of recomputation understands.
   */
  public static String parameters(int tensorRank, int pipelineRank, long parameters) {
    return " > number of parameters on (tensor, pipeline) model parallel rank (%s, %s): %s"
        .formatted(tensorRank, pipelineRank, parameters);
  }

  /** Device memory after some steps; all sizes in bytes. */
  public static String memory(
      int rank,
      int iterations,
      long allocated,
      long maxAllocated,
      long reserved,
      long maxReserved) {
    return "[Rank %s] (after %s iterations) memory (MB)".formatted(rank, iterations)
        + " | allocated: "
        + megabytes(allocated)
        + " | max allocated: "
        + megabytes(maxAllocated)
        + " | reserved: "
        + megabytes(reserved)
        + " | max reserved: "
        + megabytes(maxReserved);
  }

  private static String megabytes(long bytes) {
    return fixed(bytes / (1024.0 * 1024.0), 2);
  }
}
