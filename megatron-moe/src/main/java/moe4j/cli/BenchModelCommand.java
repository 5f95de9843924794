package moe4j.cli;

import java.io.IOException;
import java.util.List;
import moe4j.config.Flags;
import moe4j.model.ModelFamily;
import moe4j.model.RunConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.StepBench;

/**
 * {@code moe4j bench model}: {@link StepBench} with the loop that {@code pretrain} runs. {@code
 * bench gpt} and {@code bench txl} are names of it for one kind of model.
 *
 * <pre>
 * moe4j bench model --model gpt --num-layers 4 --hidden-size 256 --num-attention-heads 4 \
 *   --seq-length 256 --micro-batch-size 8 --train-iters 50 --log-interval 1 --lr 3e-4 \
 *   --tokenizer-type ByteTokenizer --data-path corpus_text_document
 * moe4j bench model --model txl --preset enwik8-base --max-step 200 --log-interval 10
 * </pre>
 */
public final class BenchModelCommand extends FamilyCommand {
  private static final String VERB = "bench model";

  /** The verb. */
  public BenchModelCommand() {
    this(null, VERB);
  }

  private BenchModelCommand(ModelFamily family, String name) {
    super(family, name);
  }

  @Override
  String verb() {
    return VERB;
  }

  @Override
  List<Class<? extends Record>> own() {
    return List.of(StepBench.Options.class);
  }

  @Override
  FamilyCommand with(ModelFamily kind, String called) {
    return new BenchModelCommand(kind, called);
  }

  @Override
  String nameFor(ModelFamily kind) {
    return "bench " + kind.name();
  }

  @Override
  public String summary() {
    return "time training steps, with the flags of %s; a figure a log interval"
        .formatted(family() == null ? "pretrain" : "pretrain-" + family().name());
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    RunConfig config = family().benchRun(config(parsed, environment.size()));
    StepBench.run(environment, config, parsed.get(StepBench.Options.class));
    return 0;
  }
}
