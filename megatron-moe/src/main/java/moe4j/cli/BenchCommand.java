package moe4j.cli;

import java.io.IOException;
import moe4j.config.Flags;
import moe4j.model.gpt.GptFamily;
import moe4j.model.gpt.GptTask;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.StepBench;

/**
 * {@code moe4j bench gpt}: {@link StepBench} with the loop that {@code pretrain-gpt} runs.
 *
 * <pre>
 * moe4j bench gpt --num-layers 4 --hidden-size 256 --num-attention-heads 4 --seq-length 256 \
 *   --micro-batch-size 8 --train-iters 50 --log-interval 1 --lr 3e-4 \
 *   --tokenizer-type ByteTokenizer --data-path corpus_text_document
 * </pre>
 */
public final class BenchCommand implements Command {

  @Override
  public String name() {
    return "bench gpt";
  }

  @Override
  public String summary() {
    return "time training steps, with the flags of pretrain-gpt; a figure a log interval";
  }

  @Override
  public Flags flags() {
    return GptFamily.flags(StepBench.Options.class);
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    new GptFamily().run(parsed, processes);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    StepBench.run(
        environment,
        new GptFamily().run(parsed, environment.size()),
        "--train-iters",
        parsed.get(StepBench.Options.class),
        GptTask::new);
    return 0;
  }
}
