package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.config.Flags;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Delta;
import moe4j.transformer.Linear;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import moe4j.transformer.SequenceMixer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A Transformer-XL with something else in the attention's place, which sees its memory. */
public class OtherMixerTest {
  private static final int SYMBOLS = 11;
  private static final int ROWS = 2;
  private static final int SEGMENT = 3;
  private static final int MEMORY = 4;

  /** Each position is told the sum of what it sees, the memory first. */
  private static final class Sum implements SequenceMixer<SegmentContext> {
    private final Linear out;

    Sum(long h, ParameterScope parameters) {
      this.out = new Linear(parameters.child("linear"), h, h, 0.3, true);
    }

    @Override
    public Delta delta(Tensor x, SegmentContext context, Pass pass) {
      long queries = x.size(1);
      long before = context.seen().size(1) - queries;
      Tensor sums = context.seen().cumsum(1).narrow(1, before, queries);
      return new Delta(out.forward(sums), null);
    }
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {{""}, {" --pre-lnorm"}};
  }

  private static TransformerXl model(String more, ParameterSet parameters) {
    String line =
        "--n-layer 1 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --init-std 0.3 --tgt-len "
            + SEGMENT
            + " --mem-len "
            + MEMORY
            + more;
    TransformerXlConfig config = Flags.parse(TransformerXlConfig.class, line.split(" "));
    return TransformerXl.create(
        config,
        SYMBOLS,
        ROWS,
        decoder -> (layer, scope) -> new Sum(config.dModel(), scope),
        Moe.feedForward(config.layerShape(), MoeConfig.parse("--num-experts", "3")),
        parameters);
  }

  private static Batch batch(Tensor tokens, int number) {
    Tensor positions =
        torch.arange(new Scalar(SEGMENT), tokens.options()).add(new Scalar(SEGMENT * number));
    return new Batch(
        tokens,
        tokens,
        torch.ones(ROWS, SEGMENT),
        positions.expand(ROWS, SEGMENT).contiguous(),
        null);
  }

  @Test(dataProvider = "shapes")
  public void itSeesTheMemoryAndIsTaught(String more) {
    Random random = Seeds.random(OtherMixerTest.class);
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      TransformerXl model = model(more, parameters);
      assertEquals(
          parameters.all().stream().filter(p -> p.name().contains("self_attention")).count(), 2);
      assertTrue(parameters.all().stream().noneMatch(p -> p.name().contains("r_w_bias")));
      float[][] losses = new float[2][];
      for (int run = 0; run < 2; run++) {
        int first = run;
        // Another first segment, and the same second one.
        Tensor second = Scopes.keep(() -> Tensors.of(new long[] {1, 2, 3, 4, 5, 6}, ROWS, SEGMENT));
        Scopes.run(
            () -> {
              Tensor tokens = torch.zeros_like(second).add(new Scalar(7 + first));
              model.memories().forEach(m -> m.zero_());
              model.loss(batch(tokens, 0), Pass.evaluation());
              losses[first] = Tensors.floats(model.loss(batch(second, 1), Pass.evaluation()));
            });
        second.close();
      }
      for (int i = 0; i < losses[0].length; i++) {
        assertTrue(losses[0][i] != losses[1][i], "position %d of no memory".formatted(i));
      }
      Scopes.run(
          () -> {
            Pass pass = Pass.training(new StepRandom(1, 0, 0, ROWS));
            Tensor tokens = Models.tokens(random, SYMBOLS, ROWS, SEGMENT);
            pass.total(model.loss(batch(tokens, 0), pass).mean()).backward();
            parameters
                .all()
                .forEach(
                    p -> {
                      assertTrue(p.tensor().grad().defined(), p.name());
                      assertTrue(
                          !p.name().contains("self_attention")
                              || Tensors.item(p.tensor().grad().abs().sum()) > 0,
                          p.name());
                    });
          });
    }
  }
}
