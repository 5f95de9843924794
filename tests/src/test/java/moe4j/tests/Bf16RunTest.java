package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import moe4j.kernels.product.Bf16Products;
import moe4j.kernels.product.Bf16Products.Way;
import moe4j.kernels.product.WideWeights;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.record.IterationRecord;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A run whose bf16 products go through fp32 learns what one with libtorch's products does. */
public class Bf16RunTest {
  private static final String BASE =
      "--num-layers 2 --hidden-size 32 --num-attention-heads 2 --seq-length 32 --bf16"
          + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --train-iters 12 --eval-iters 0"
          + " --log-interval 1 --num-threads 1 --mock-data --tokenizer-type NullTokenizer"
          + " --vocab-size 60";

  @DataProvider
  public Object[][] models() {
    return new Object[][] {
      {"dense", " --attention-dropout 0.1 --hidden-dropout 0.1"},
      {
        "experts",
        " --num-experts 4 --moe-router-topk 2 --moe-aux-loss-coeff 0.01 --swiglu"
            + " --normalization RMSNorm --moe-shared-expert-intermediate-size 32"
      },
    };
  }

  @AfterMethod
  public void asTheMachineSays() {
    Bf16Products.use(null);
  }

  /** The steps are large: of a stale weight a loss would know within the first few. */
  @Test(dataProvider = "models")
  public void lossesAreThoseOfLibtorch(String name, String flags) throws Exception {
    List<Double> libtorch = losses(Way.NATIVE, flags);
    long before = WideWeights.bytes();
    List<Double> ours = losses(Way.FP32, flags);
    assertEquals(WideWeights.bytes(), before, "images go with the model");
    assertEquals(ours.size(), 12);
    for (int i = 0; i < ours.size(); i++) {
      double off = Math.abs(ours.get(i) - libtorch.get(i));
      assertTrue(off < 0.01 * libtorch.get(i), "step " + (i + 1) + ": " + ours + ", " + libtorch);
    }
    assertTrue(ours.get(11) < 0.97 * ours.get(0), "nothing is learned: " + ours);
  }

  private static List<Double> losses(Way way, String flags) throws Exception {
    Bf16Products.use(way);
    RunConfig config = GptFamily.parse(Cli.arguments(BASE + flags).toArray(new String[0]));
    List<Double> losses = new ArrayList<>();
    Cli.quietly(
        () ->
            Pretraining.run(
                config,
                new SmallGpt(config, UnaryOperator.identity()),
                ShutdownSignal.install(),
                new Watcher() {
                  @Override
                  public void interval(Interval interval) {
                    losses.add(interval.reading().losses().get(IterationRecord.LM_LOSS));
                  }
                }));
    return losses;
  }
}
