package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import moe4j.config.LoggingConfig;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.record.RunEnd;
import org.testng.annotations.Test;

public class OwnRunTest {

  @Test
  public void trains() throws IOException {
    assertEquals(OwnRun.train(OwnRun.config(3)).end(), RunEnd.COMPLETE);
  }

  @Test
  public void isTheRunOfTheseFlags() {
    String line =
        "--num-layers 2 --hidden-size 32 --num-attention-heads 4 --seq-length 32 --swiglu"
            + " --num-experts 8 --fmoefy --moe-aux-loss-coeff 0.01 --micro-batch-size 4"
            + " --train-iters 30 --eval-iters 0 --lr 1e-2 --lr-decay-style cosine --mock-data"
            + " --vocab-size 64 --log-interval 10";
    assertEquals(OwnRun.config(30), GptFamily.parse(line.split(" ")));
  }

  /** Flags of one record that have no effect without another's. */
  @Test
  public void isRefusedAsTheFlagsAre() {
    RunConfig run = OwnRun.config(30);
    LoggingConfig profile = LoggingConfig.builder().profile(true).build();
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                RunConfig.builder(run.model(), run.training(), run.optimizer(), run.data())
                        .logging(profile)
                    ::build)
            .getMessage(),
        "--profile needs --device cuda");
  }
}
