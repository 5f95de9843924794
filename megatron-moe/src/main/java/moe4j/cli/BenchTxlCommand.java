package moe4j.cli;

import java.io.IOException;
import moe4j.config.Flags;
import moe4j.model.txl.Presets;
import moe4j.model.txl.TransformerXlRun;
import moe4j.model.txl.TransformerXlTask;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.StepBench;

/**
 * {@code moe4j bench txl}: {@link StepBench} with the loop that {@code pretrain-txl} runs.
 *
 * <pre>
 * moe4j bench txl --preset enwik8-base --max-step 200 --log-interval 10
 * </pre>
 */
public final class BenchTxlCommand implements Command {

  @Override
  public String name() {
    return "bench txl";
  }

  @Override
  public String summary() {
    return "time training steps, with the flags of pretrain-txl; a figure a log interval";
  }

  @Override
  public Flags flags() {
    return TransformerXlRun.flags(StepBench.Options.class);
  }

  @Override
  public String[] expand(String[] args) {
    return Presets.expandAndSay(args);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    TransformerXlRun run = TransformerXlRun.of(parsed, environment.size()).withoutWorkDir();
    StepBench.run(
        environment,
        run.config(),
        "--max-step",
        parsed.get(StepBench.Options.class),
        config -> new TransformerXlTask(run.with(config), environment, false));
    return 0;
  }
}
