package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.config.Flags;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelSpec;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.moe.experts.GroupedMlp;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import moe4j.transformer.Activation;
import moe4j.transformer.Batch;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A Transformer-XL that is given experts: in one line of Java, and by {@code --fmoefy}. */
public class FmoefiedTransformerXlTest {
  private static final int SYMBOLS = 11;
  private static final int ROWS = 4;
  private static final int H = 16;
  private static final int F = 24;
  private static final String SHAPE =
      "--n-layer 2 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --tgt-len 6 --mem-len 9"
          + " --init-std 0.1 --dropout 0.3 --dropatt 0.2";

  private static TransformerXlConfig config(String more) {
    return Flags.parse(TransformerXlConfig.class, (SHAPE + more).split(" "));
  }

  private static MoeConfig moe(String flags) {
    return MoeConfig.parse(flags.split(" "));
  }

  private static TransformerXl model(TransformerXlConfig config, MoeConfig moe, ParameterSet set) {
    return TransformerXl.create(
        config, SYMBOLS, ROWS, Moe.feedForward(config.layerShape(), moe), set);
  }

  /** A step's loss, and all gradients by name; the memory goes on. */
  private static Map<String, float[]> step(TransformerXl model, int number) {
    Map<String, float[]> found = new TreeMap<>();
    try (PointerScope scope = new PointerScope()) {
      Tensor tokens = Models.tokens(new java.util.Random(number), SYMBOLS, ROWS, 6);
      Tensor positions = torch.arange(new Scalar(6), tokens.options()).add(new Scalar(6 * number));
      Batch batch =
          new Batch(
              tokens, tokens, torch.ones(ROWS, 6), positions.expand(ROWS, 6).contiguous(), null);
      Pass pass = Pass.training(new StepRandom(5, number, 0, ROWS));
      Tensor total = pass.total(model.loss(batch, pass).mean());
      total.backward();
      found.put("", Tensors.floats(total));
      for (Parameter parameter : model.parameters().all()) {
        assertTrue(parameter.tensor().grad().defined(), parameter.name());
        found.put(parameter.name(), Tensors.floats(parameter.tensor().grad()));
        parameter.tensor().mutable_grad().reset();
      }
    }
    return found;
  }

  @DataProvider
  public Object[][] experts() {
    return new Object[][] {
      {"", "--fmoefy --num-experts 5 --moe-aux-loss-coeff 0.01"},
      {" --pre-lnorm", "--fmoefy --num-experts 6 --top-k 3 --balance-strategy naive"},
      {"", "--num-experts 3 --moe-layer-freq [0,1] --add-expert-bias"},
    };
  }

  /** The same weights, losses and gradients as of a model that is made with them, bit for bit. */
  @Test(dataProvider = "experts")
  public void aDenseModelBecomesTheOneThatFlagsMake(String shape, String flags) {
    TransformerXlConfig config = config(shape);
    try (ParameterSet made = Models.parameters(ScalarType.Float);
        ParameterSet given = Models.parameters(ScalarType.Float)) {
      TransformerXl expected = model(config, moe(flags), made);
      TransformerXl dense = model(config, MoeConfig.dense(), given);
      step(dense, 0);
      dense.memories().forEach(m -> m.zero_());
      TransformerXl actual = Moe.fmoefy(dense, moe(flags));
      assertSame(actual, dense);
      for (int number = 0; number < 3; number++) {
        Map<String, float[]> these = step(actual, number);
        Map<String, float[]> those = step(expected, number);
        assertEquals(these.keySet(), those.keySet());
        those.forEach((name, values) -> assertEquals(these.get(name), values, name));
      }
    }
  }

  /** Experts of a half each, and as many floating-point operations as before. */
  @Test
  public void activeFlopsStay() {
    TransformerXlConfig config = config("");
    MoeConfig usual = moe("--fmoefy --num-experts 5 --moe-aux-loss-coeff 0.01");
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      TransformerXl model = model(config, MoeConfig.dense(), parameters);
      long dense = parameters.elements();
      Moe.fmoefy(model, 5);
      long block = 2L * H * F + F + H;
      long experts = 5L * 2 * H * (F / 2) + 5L * H;
      assertEquals(parameters.elements(), dense - 2 * block + 2 * experts);
      assertEquals(
          Models.parameter(parameters, "decoder.layers.1.mlp.experts.linear_fc1.weight").shape(),
          new long[] {5, F / 2, H});
    }
    assertEquals(
        TransformerXlCosts.of(config, usual, SYMBOLS).flops(ROWS, ROWS),
        TransformerXlCosts.of(config, MoeConfig.dense(), SYMBOLS).flops(ROWS, ROWS));
  }

  /** The experts are upstream's blocks in small, whatever Megatron's are. */
  @Test
  public void expertsAreUpstreams() {
    GroupedMlp.Shape shape =
        moe("--fmoefy --num-experts 4 --add-expert-bias").expertShape(config("").layerShape(), 1);
    assertEquals(
        shape,
        new GroupedMlp.Shape(4, H, F / 2, Activation.RELU, true, 0.1, 0.1).withDropout(0.3, 1));
  }

  @Test
  public void aHiddenSizeThatCannotBeDivided() {
    String line = SHAPE + " --eval-tgt-len 6 --data x --fmoefy --num-experts 8 --top-k 5";
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> SmallRun.parse(line)).getMessage(),
        "--fmoefy: --d-inner 24 is no multiple of the 5 experts a token goes to (give"
            + " --moe-ffn-hidden-size if that is meant)");
  }

  /** Whoever asks which layers have experts names the family's own flag. */
  @Test
  public void aPatternOfOtherLayers() {
    ModelSpec model =
        new ModelSpec(
            ModelFamilies.named("txl"), config(""), moe("--num-experts 4 --moe-layer-freq [1]*3"));
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> model.family().check(model))
            .getMessage(),
        "--moe-layer-freq [1]*3 describes 3 layers, --n-layer says 2");
  }

  /** {@code pretrain-txl --fmoefy} from the command line to a model that has learnt. */
  @Test
  public void theCommandTrainsIt() throws IOException {
    try (TempDir folder = new TempDir()) {
      Path text = folder.text("text", Seeds.random(FmoefiedTransformerXlTest.class), 900);
      String line =
          SmallRun.SHAPE
              + " --split-bytes 500,200,200 --max-step 12 --eval-interval 12 --data-file "
              + text
              + " --num-experts 4 --top-k 2 --moe-aux-loss-coeff 0.01";
      SmallRun fmoefied = SmallRun.of(SmallRun.parse(line + " --fmoefy"));
      SmallRun told = SmallRun.of(SmallRun.parse(line + " --moe-ffn-hidden-size 12"));
      assertEquals(fmoefied.losses, told.losses);
      assertEquals(fmoefied.losses.size(), 12);
      assertTrue(fmoefied.losses.get(12) < fmoefied.losses.get(1), fmoefied.losses.toString());
      assertEquals(
          fmoefied.weights.get("decoder.layers.0.mlp.experts.linear_fc2.weight").length,
          4 * 16 * 12);
      assertEquals(
          fmoefied.weights.keySet().stream().filter(n -> n.contains(".mlp.linear_fc")).toList(),
          List.of());
    }
  }
}
