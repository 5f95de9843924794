package moe4j.model.txl;

import java.io.IOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.LongSupplier;
import moe4j.model.LogLines;
import moe4j.record.IterationRecord;
import moe4j.record.PythonFormat;
import moe4j.record.ValidationRecord;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * The lines of upstream's train.py, on the console and in {@code log.txt}: what parses its logs
 * parses ours. Figures that upstream does not print follow those that it does.
 */
public final class UpstreamLog implements LogLines {
  private static final Logger LOG = LogManager.getLogger(UpstreamLog.class);

  /** The file in {@code --work-dir}. */
  static final String FILE = "log.txt";

  private final Path file;
  private final int segments;
  private final int evalInterval;
  private final LongSupplier nanoTime;
  private long evaluationStart;

  /**
   * Lines of a run.
   *
   * @param directory that log.txt is in; null for none
   * @param segments of an epoch
   * @param evalInterval steps between evaluations
   */
  public UpstreamLog(Path directory, int segments, int evalInterval, LongSupplier nanoTime) {
    this.file = directory == null ? null : directory.resolve(FILE);
    this.segments = segments;
    this.evalInterval = evalInterval;
    this.nanoTime = nanoTime;
    this.evaluationStart = nanoTime.getAsLong();
  }

  private static String reason(IOException e) {
    return e instanceof FileSystemException f && f.getReason() != null
        ? f.getReason()
        : e.getMessage();
  }

  /** A loss in nats as bits a symbol. */
  public static double bpc(double loss) {
    return loss / Math.log(2);
  }

  @Override
  public List<String> arguments(Map<String, ?> arguments, int vocabulary, int padded) {
    List<String> lines = new ArrayList<>();
    lines.add("=".repeat(100));
    arguments.forEach(
        (name, value) -> lines.add("    - " + name + " : " + PythonFormat.str(value)));
    lines.add("    - n_token : " + vocabulary);
    lines.add("=".repeat(100));
    return written(lines);
  }

  @Override
  public List<String> model(ParameterSet parameters) {
    long inLayers =
        parameters.all().stream()
            .filter(parameter -> parameter.name().startsWith("decoder.layers."))
            .mapToLong(parameter -> parameter.tensor().numel())
            .sum();
    return written(List.of("#params = " + parameters.elements(), "#non emb params = " + inLayers));
  }

  @Override
  public Map<String, Double> derived(Map<String, Double> losses) {
    Double loss = losses.get(IterationRecord.LM_LOSS);
    return loss == null ? Map.of() : Map.of(IterationRecord.BPC, bpc(loss));
  }

  @Override
  public Path file() {
    return file;
  }

  @Override
  public List<String> training(IterationRecord it) {
    int before = it.iteration() - 1;
    // Where no step of the interval was taken there is no loss.
    double loss = it.losses().getOrDefault(IterationRecord.LM_LOSS, Double.NaN);
    StringBuilder line =
        new StringBuilder(
            format(
                "| epoch %3d step %8d | %6d batches | lr %s | ms/batch %s | loss %s | bpc %s",
                before / segments + 1,
                it.iteration(),
                before % segments + 1,
                general(it.learningRate()),
                fixed(it.millisPerIteration(), 5, 2),
                fixed(loss, 5, 2),
                fixed(bpc(loss), 9, 5)));
    if (it.gradNorm() != null) {
      line.append(" | grad norm ").append(fixed(it.gradNorm(), 0, 3));
    }
    line.append(" | tokens/s ").append(fixed(it.tokensPerSecond(), 0, 0));
    if (it.mfu() != null) {
      line.append(format(" | MFU %s%% of %s", fixed(it.mfu(), 0, 1), it.peak()));
    }
    if (it.skippedIterations() > 0) {
      line.append(format(" | skipped steps %d", it.skippedIterations()));
    }
    it.losses()
        .forEach(
            (key, value) -> {
              if (!key.equals(IterationRecord.LM_LOSS) && !key.equals(IterationRecord.BPC)) {
                line.append(format(" | %s %s", key, fixed(value, 0, 4)));
              }
            });
    if (it.experts() != null) {
      line.append(
          format(
              " | max/mean expert load %s | expert load CV %s | dropped share %s",
              fixed(it.experts().maxOverMean(), 0, 3),
              fixed(it.experts().cv(), 0, 3),
              fixed(it.experts().droppedShare(), 0, 4)));
    }
    it.figures()
        .forEach((name, value) -> line.append(format(" | %s %s", name, fixed(value, 0, 3))));
    if (it.memory() != null) {
      line.append(format(" | GPU memory %s GiB", fixed(it.memory().maxReserved() / 0x1p30, 0, 2)));
    }
    line.append(format(" | live native pointers %d", it.livePointers()));
    return written(List.of(line.toString()));
  }

  @Override
  public List<String> validation(ValidationRecord record) {
    double loss = record.losses().get(IterationRecord.LM_LOSS);
    String loss52 = fixed(loss, 5, 2);
    String bpc95 = fixed(bpc(loss), 9, 5);
    if (record.set() == ValidationRecord.Set.TEST) {
      String equals = "=".repeat(100);
      return written(
          List.of(
              equals,
              format("| End of training | test loss %s | test bpc %s", loss52, bpc95),
              equals));
    }
    if (record.set() == ValidationRecord.Set.AGAIN) {
      // At the end of a run whose last step was followed by one.
      return List.of();
    }
    long now = nanoTime.getAsLong();
    double seconds = (now - evaluationStart) * 1e-9;
    evaluationStart = now;
    String dashes = "-".repeat(100);
    return written(
        List.of(
            dashes,
            format(
                "| Eval %3d at step %8d | time: %ss | valid loss %s | bpc %s",
                record.iteration() / evalInterval,
                record.iteration(),
                fixed(seconds, 5, 2),
                loss52,
                bpc95),
            dashes));
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  /** Python's {@code {:width.digitsf}}: what Java's formatter rounds, it rounds otherwise. */
  private static String fixed(double value, int width, int digits) {
    String text = PythonFormat.fixed(value, digits);
    return " ".repeat(Math.max(0, width - text.length())) + text;
  }

  /** Python's {@code {:.3g}}: three digits, an exponent where it is shorter, no zeros behind. */
  static String general(double value) {
    if (value == 0 || !Double.isFinite(value)) {
      return PythonFormat.fixed(value, 0);
    }
    BigDecimal rounded =
        new BigDecimal(value)
            .round(new MathContext(3, RoundingMode.HALF_EVEN))
            .stripTrailingZeros();
    int exponent = rounded.precision() - rounded.scale() - 1;
    if (exponent >= -4 && exponent < 3) {
      return rounded.toPlainString();
    }
    String digits = rounded.unscaledValue().abs().toString();
    String mantissa = digits.length() == 1 ? digits : digits.charAt(0) + "." + digits.substring(1);
    return format(
        "%s%se%s%02d",
        value < 0 ? "-" : "", mantissa, exponent < 0 ? "-" : "+", Math.abs(exponent));
  }

  private List<String> written(List<String> lines) {
    if (file != null) {
      try {
        Files.createDirectories(file.toAbsolutePath().getParent());
        Files.write(file, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
      } catch (IOException e) {
        // The same lines are on the console: no reason to lose what is learnt.
        LOG.warn("{}: {}; lines are missing there, and the run goes on", file, reason(e));
      }
    }
    return lines;
  }
}
