package moe4j.cli;

import java.io.IOException;
import java.util.List;
import moe4j.config.Flags;
import moe4j.model.ModelFamily;
import moe4j.model.RunConfig;
import moe4j.model.RunWords;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.RunEnd;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j pretrain}: trains a model, dense or with experts. {@code pretrain-gpt} and {@code
 * pretrain-txl} are names of it for one kind of model.
 *
 * <pre>
 * moe4j pretrain --model gpt --num-layers 12 --hidden-size 768 --num-attention-heads 12 \
 *   --seq-length 1024 --micro-batch-size 4 --global-batch-size 32 --train-iters 1000 --lr 6e-4 \
 *   --tokenizer-type GPT2BPETokenizer --data-path corpus_text_document --save runs/gpt
 * moe4j pretrain --model txl --preset enwik8-base
 * </pre>
 */
public final class PretrainCommand extends FamilyCommand {
  private static final Logger LOG = LogManager.getLogger(PretrainCommand.class);
  private static final String VERB = "pretrain";

  /** The verb. */
  public PretrainCommand() {
    this(null, VERB);
  }

  private PretrainCommand(ModelFamily family, String name) {
    super(family, name);
  }

  @Override
  String verb() {
    return VERB;
  }

  @Override
  List<Class<? extends Record>> own() {
    return List.of();
  }

  @Override
  FamilyCommand with(ModelFamily kind, String called) {
    return new PretrainCommand(kind, called);
  }

  @Override
  String nameFor(ModelFamily kind) {
    return VERB + "-" + kind.name();
  }

  @Override
  public String summary() {
    return "train %s, dense or (--num-experts) with experts".formatted(title());
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    RunConfig config = config(parsed, environment.size());
    family().checkStart(config, environment.restartCount() > 0);
    ShutdownSignal signal = ShutdownSignal.install();
    Pretraining.Outcome outcome;
    try (World world = Pretraining.join(config, environment)) {
      outcome = Pretraining.run(world, config, family().task(config, environment), signal, null);
    }
    if (outcome.end() == RunEnd.STOPPED
        && config.checkpoint().save() == null
        && environment.rank() == 0) {
      RunWords words = family().words();
      LOG.warn(
          "stopped at {} {} without {}: nothing of what was learnt is kept",
          words.step(),
          outcome.state().iteration(),
          words.directory().save());
    }
    return outcome.status();
  }
}
