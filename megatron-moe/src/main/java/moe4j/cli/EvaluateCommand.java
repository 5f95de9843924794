package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.model.Evaluation;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.SavedConfig;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.ComputeDevice;
import moe4j.training.step.Evaluator;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.pytorch.Device;

/**
 * {@code moe4j evaluate}: a checkpoint's loss on data, with the flags of its kind of model. {@code
 * evaluate-gpt} and {@code evaluate-txl} are names of it for one kind.
 *
 * <pre>
 * moe4j evaluate --load runs/demo/experts --part valid
 * moe4j evaluate --load runs/enwik8-base --device cuda --tgt-len 80 --mem-len 2100 \
 *   --clamp-len 820 --same-length --split test
 * </pre>
 */
public final class EvaluateCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(EvaluateCommand.class);
  private static final String VERB = "evaluate";

  /** Its flags beside those of the kind of model. */
  public record Options(
      @Flag(
              help =
                  "directory of checkpoints: the latest is used, of a Transformer-XL's run the"
                      + " best; --load DIR --help lists the flags for its kind of model",
              required = true)
          String load,
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device) {}

  private final ModelFamily family;
  private final String name;

  /** The verb; without a checkpoint that says otherwise its flags are a GPT's. */
  public EvaluateCommand() {
    this(ModelFamilies.named("gpt"), VERB);
  }

  private EvaluateCommand(ModelFamily family, String name) {
    this.family = family;
    this.name = name;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public String summary() {
    return name.equals(VERB)
        ? "print a checkpoint's loss on data"
        : "print a %s checkpoint's loss on data".formatted(family.title());
  }

  @Override
  public List<Command> byKind() {
    return ModelFamilies.all().stream()
        .map(kind -> (Command) new EvaluateCommand(kind, VERB + "-" + kind.name()))
        .toList();
  }

  @Override
  public Command of(String[] args) throws IOException {
    String load = name.equals(VERB) ? CommandLines.valueOf("--load", flags(), args) : null;
    return load == null
        ? this
        : SavedModels.family(Path.of(load))
            .map(kind -> new EvaluateCommand(kind, VERB))
            .orElse(this);
  }

  @Override
  public Flags flags() {
    List<Class<? extends Record>> flags = new ArrayList<>(List.of(Options.class));
    flags.addAll(family.evaluationFlags());
    flags.add(SavedGateFlags.class);
    return Flags.of(flags);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    String gate = parsed.get(SavedGateFlags.class).balanceStrategy();
    try (ComputeDevice device = ComputeDevice.open(options.device());
        Checkpoint checkpoint = SavedModels.open(Path.of(options.load()), family, LOG::warn)) {
      // Refuses another kind's in a sentence.
      SavedConfig.of(checkpoint, gate).model(family.name());
      try (Evaluation evaluation =
          family.evaluation(options.load(), checkpoint, gate, parsed, device.device())) {
        evaluate(evaluation, device.device());
      }
    }
    return 0;
  }

  private static void evaluate(Evaluation evaluation, Device device) {
    evaluation.begin().forEach(System.out::println);
    List<Double> losses = new ArrayList<>();
    for (Evaluation.Samples part : evaluation.parts()) {
      BatchBuffers.Form form =
          new BatchBuffers.Form(
              device, part.rows(), part.sequence(), part.positions(), part.documents());
      long start = System.nanoTime();
      try (BatchBuffers buffers = new BatchBuffers(form);
          Evaluator evaluator = new Evaluator(evaluation.model(), buffers)) {
        losses.add(loss(evaluator, part));
      }
      evaluation.done(part, (System.nanoTime() - start) * 1e-9).forEach(System.out::println);
    }
    evaluation.end(losses).forEach(System.out::println);
  }

  private static double loss(Evaluator evaluator, Evaluation.Samples part) {
    ProgressLine.Count count =
        new ProgressLine.Count("sequence", part.samples(), "tok", part.targets());
    try (ProgressLine line = ProgressLine.of(part.name(), count)) {
      line.done(0);
      return evaluator.loss(part.data(), 0, part.samples(), line::done);
    }
  }
}
