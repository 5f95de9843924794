package moe4j.cli;

import java.io.IOException;
import moe4j.config.Flags;
import moe4j.model.txl.Presets;
import moe4j.model.txl.TransformerXlRun;
import moe4j.model.txl.TransformerXlTask;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.RunEnd;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j pretrain-txl}: trains a Transformer-XL on bytes, dense or with experts.
 *
 * <pre>
 * moe4j data enwik8 --out corpora/enwik8
 * moe4j pretrain-txl --preset enwik8-base
 * moe4j pretrain-txl --preset enwik8-base-moe64
 * moe4j compare runs/enwik8-base runs/enwik8-base-moe64
 * </pre>
 */
public final class PretrainTxlCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(PretrainTxlCommand.class);

  @Override
  public String name() {
    return "pretrain-txl";
  }

  @Override
  public String summary() {
    return "train a Transformer-XL on bytes, dense or (--num-experts) with experts";
  }

  @Override
  public Flags flags() {
    return TransformerXlRun.flags();
  }

  @Override
  public String[] expand(String[] args) {
    return Presets.expandAndSay(args);
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    TransformerXlRun.of(parsed, processes);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    TransformerXlRun run = TransformerXlRun.of(parsed, environment.size());
    run.checkRestart(environment.restartCount() > 0);
    ShutdownSignal signal = ShutdownSignal.install();
    Pretraining.Outcome outcome;
    try (World world = Pretraining.join(run.config(), environment)) {
      TransformerXlTask task = new TransformerXlTask(run, environment);
      outcome = Pretraining.run(world, run.config(), task, signal, null);
    }
    if (outcome.end() == RunEnd.STOPPED && run.workDir() == null && environment.rank() == 0) {
      LOG.warn(
          "stopped at step {} without --work-dir: nothing of what was learnt is kept",
          outcome.state().iteration());
    }
    return outcome.status();
  }
}
