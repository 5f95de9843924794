package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertTrue;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.Pattern;
import moe4j.config.Flags;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Initial weights are distributed as upstream's {@code weights_init} has them (train.py): means and
 * standard deviations of each kind of parameter, within six standard errors.
 */
public class InitialWeightsTest {
  private static final double ERRORS = 6;

  /** Mean and standard deviation by kind; the first pattern that matches a name counts. */
  private static final Map<String, double[]> KINDS = new LinkedHashMap<>();

  static {
    KINDS.put("decoder\\.r_[wr]_bias", new double[] {0, 0.02});
    KINDS.put("embedding\\..*word_projection\\.weight", new double[] {0, 0.01});
    KINDS.put("output_layer\\.projection\\.weight", new double[] {0, 0.01});
    KINDS.put("embedding\\..*word_embeddings\\.weight", new double[] {0, 0.02});
    KINDS.put("output_layer\\.cluster_weight", new double[] {0, 0.02});
    KINDS.put("output_layer\\..*weight", new double[] {0, 0.02});
    KINDS.put("decoder\\.layers\\.\\d+\\..*layernorm\\.weight", new double[] {1, 0.02});
    KINDS.put("decoder\\.layers\\.\\d+\\.self_attention\\..*\\.weight", new double[] {0, 0.02});
    KINDS.put("decoder\\.layers\\.\\d+\\.mlp\\.router\\.weight", new double[] {0, 0.02});
    KINDS.put("decoder\\.layers\\.\\d+\\.mlp\\..*linear_fc[12]\\.weight", new double[] {0, 0.02});
    KINDS.put(".*bias", new double[] {0, 0});
  }

  @DataProvider
  public Object[][] models() {
    String shape = "--n-layer 2 --d-model 64 --n-head 4 --d-head 16 --d-inner 96 --mem-len 4";
    String experts = "--num-experts 4 --top-k 2 --balance-strategy naive --add-expert-bias";
    return new Object[][] {
      {shape, "", 2 * 12 + 4},
      {shape + " --not-tied --pre-lnorm", "", 2 * 12 + 5},
      {shape, experts, 2 * 14 + 4},
      {shape + " --adaptive --cutoffs 100 200", "", 2 * 12 + 6},
      {shape + " --d-embed 48 --not-tied", "", 2 * 12 + 7},
      {shape + " --adaptive --cutoffs 100 200 --div-val 2 --not-tied", "", 2 * 12 + 17},
      {shape + " --adaptive --cutoffs 100 200 --d-embed 48 --not-tied", "", 2 * 12 + 9},
    };
  }

  @Test(dataProvider = "models")
  public void asUpstream(String flags, String experts, int count) {
    TransformerXlConfig config = Flags.parse(TransformerXlConfig.class, flags.split(" "));
    MoeConfig moe = experts.isEmpty() ? MoeConfig.dense() : MoeConfig.parse(experts.split(" "));
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters =
            new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"))) {
      TransformerXl.create(config, 300, 2, Moe.feedForward(config.layerShape(), moe), parameters);
      Map<String, String> names = new LinkedHashMap<>();
      for (Parameter parameter : parameters.all()) {
        names.put(parameter.name(), Tensors.shape(parameter.tensor()));
        check(parameter);
      }
      assertEquals(names.size(), count, names.toString());
      // Nothing is remembered yet.
      parameters
          .buffers()
          .forEach(b -> assertEquals(Tensors.item(b.tensor().abs().max()), 0.0, b.name()));
    }
  }

  private static void check(Parameter parameter) {
    String name = parameter.name();
    double[] kind = null;
    for (Map.Entry<String, double[]> each : KINDS.entrySet()) {
      if (kind == null && Pattern.matches(each.getKey(), name)) {
        kind = each.getValue();
      }
    }
    assertNotNull(kind, "a parameter of no known kind: " + name);
    float[] values = Tensors.floats(parameter.tensor());
    double n = values.length;
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    double mean = sum / n;
    double square = 0;
    for (float value : values) {
      square += (value - mean) * (value - mean);
    }
    if (kind[1] == 0) {
      assertEquals(mean, kind[0], name);
      assertEquals(square, 0.0, name);
      return;
    }
    double std = Math.sqrt(square / (n - 1));
    String found = "%s of %d: mean %.5f, std %.5f".formatted(name, values.length, mean, std);
    assertEquals(mean, kind[0], ERRORS * kind[1] / Math.sqrt(n), found);
    assertEquals(std, kind[1], ERRORS * kind[1] / Math.sqrt(2 * n), found);
  }

  /** Layers, experts and tables are drawn apart: no two parameters are alike. */
  @Test
  public void nothingIsDrawnTwice() {
    TransformerXlConfig config =
        Flags.parse(
            TransformerXlConfig.class,
            "--n-layer",
            "2",
            "--d-model",
            "64",
            "--n-head",
            "4",
            "--d-head",
            "16");
    MoeConfig moe = MoeConfig.parse("--num-experts", "3", "--top-k", "2");
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters =
            new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"))) {
      TransformerXl.create(config, 30, 2, Moe.feedForward(config.layerShape(), moe), parameters);
      TreeSet<Float> firsts = new TreeSet<>();
      int drawn = 0;
      for (Parameter parameter : parameters.all()) {
        for (Parameter.Piece piece : parameter.pieces()) {
          float[] values = Tensors.floats(piece.of(parameter.tensor().detach()));
          if (values[0] != 0) {
            drawn++;
            firsts.add(values[0]);
          }
        }
      }
      assertTrue(drawn > 20, drawn + " parameters");
      assertEquals(firsts.size(), drawn);
    }
  }
}
