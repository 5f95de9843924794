package moe4j.cli;

import java.io.IOException;
import moe4j.config.Flags;
import moe4j.model.ModelFamily;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.RunEnd;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j pretrain-gpt}: trains a GPT, dense or with experts.
 *
 * <pre>
 * moe4j pretrain-gpt --num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 \
 *   --micro-batch-size 4 --global-batch-size 32 --train-iters 1000 --lr 6e-4 \
 *   --tokenizer-type GPT2BPETokenizer --data-path corpus_text_document --save runs/gpt
 * </pre>
 */
public final class PretrainGptCommand implements Command {
  private static final ModelFamily FAMILY = new GptFamily();
  private static final Logger LOG = LogManager.getLogger(PretrainGptCommand.class);

  @Override
  public String name() {
    return "pretrain-gpt";
  }

  @Override
  public String summary() {
    return "train a GPT, dense or (--num-experts) with experts";
  }

  @Override
  public Flags flags() {
    return FAMILY.flags();
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    FAMILY.run(parsed, processes);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    RunConfig config = FAMILY.run(parsed, environment.size());
    ShutdownSignal signal = ShutdownSignal.install();
    Pretraining.Outcome outcome;
    try (World world = Pretraining.join(config, environment)) {
      outcome = Pretraining.run(world, config, FAMILY.task(config, environment), signal, null);
    }
    if (outcome.end() == RunEnd.STOPPED
        && config.checkpoint().save() == null
        && environment.rank() == 0) {
      LOG.warn(
          "stopped at iteration {} without --save: nothing of what was learnt is kept",
          outcome.state().iteration());
    }
    return outcome.status();
  }
}
