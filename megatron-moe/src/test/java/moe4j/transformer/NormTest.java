package moe4j.transformer;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.List;
import java.util.Random;
import moe4j.model.gpt.GptConfig;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class NormTest {
  private static final String FLAGS =
      "--num-layers 1 --hidden-size 12 --num-attention-heads 1 --seq-length 4";

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {
      {"LayerNorm", 1e-5, 1.0},
      {"RMSNorm", 1e-5, 1.0},
      {"LayerNorm", 1e-2, 0.1},
      {"RMSNorm", 1e-2, 0.1},
      {"RMSNorm", 1e-6, 100.0}
    };
  }

  /** The definition in fp64, with its gradient by differences. */
  @Test(dataProvider = "kinds")
  public void isTheDefinition(String kind, double epsilon, double size) {
    Random random = Seeds.random(NormTest.class);
    int h = 12;
    int rows = 5;
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      GptConfig config =
          Models.config(FLAGS + " --normalization " + kind + " --norm-epsilon " + epsilon);
      Norm norm = new Norm(config.norm(), parameters.root().child("final_layernorm"), h);
      boolean layer = kind.equals("LayerNorm");
      assertEquals(
          parameters.all().stream().map(Parameter::name).toList(),
          layer
              ? List.of("final_layernorm.weight", "final_layernorm.bias")
              : List.of("final_layernorm.weight"));
      Models.randomise(parameters, random, 0.3);
      Tensor x =
          Models.normals(random, rows, h).add(new Scalar(0.5)).mul(new Scalar(size)).detach();
      x.set_requires_grad(true);
      Tensor upstream = Models.normals(random, rows, h);
      Tensor y = norm.forward(x);
      y.mul(upstream).sum().backward();

      double[] input = doubles(x);
      double[] gain = doubles(Models.parameter(parameters, "final_layernorm.weight"));
      double[] bias =
          layer ? doubles(Models.parameter(parameters, "final_layernorm.bias")) : new double[h];
      double[] above = doubles(upstream);
      assertClose(kind, Tensors.floats(y), define(input, gain, bias, layer, epsilon), 1e-6, 1e-2);
      assertClose(
          "input's gradient",
          Tensors.floats(x.grad()),
          slope(input, above, v -> define(v, gain, bias, layer, epsilon)),
          1e-5,
          1e-2);
      assertClose(
          "gain's gradient",
          Tensors.floats(Models.parameter(parameters, "final_layernorm.weight").grad()),
          slope(gain, above, v -> define(input, v, bias, layer, epsilon)),
          1e-5,
          1e-2);
    }
  }

  @Test
  public void bf16KeepsItsTypeAndTakesItsStatisticsInFp32() {
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = Models.parameters(ScalarType.BFloat16)) {
      Norm norm =
          new Norm(
              Models.config(FLAGS + " --normalization RMSNorm").norm(), parameters.root(), 4096);
      float[] ones = new float[4096];
      java.util.Arrays.fill(ones, 3);
      Tensor y = norm.forward(Tensors.of(ones, 1, 4096).to(ScalarType.BFloat16));
      assertSame(Tensors.dtype(y), ScalarType.BFloat16);
      // A mean of squares summed in bf16 would stall at 256 terms' worth.
      for (float value : Tensors.floats(y)) {
        assertEquals(value, 1f);
      }
    }
  }

  private static double[] define(
      double[] x, double[] gain, double[] bias, boolean layer, double epsilon) {
    int h = gain.length;
    double[] y = new double[x.length];
    for (int at = 0; at < x.length; at += h) {
      double mean = 0;
      for (int i = 0; layer && i < h; i++) {
        mean += x[at + i] / h;
      }
      double square = 0;
      for (int i = 0; i < h; i++) {
        square += Math.pow(x[at + i] - mean, 2) / h;
      }
      for (int i = 0; i < h; i++) {
        y[at + i] = (x[at + i] - mean) / Math.sqrt(square + epsilon) * gain[i] + bias[i];
      }
    }
    return y;
  }

  private interface Function {
    double[] of(double[] v);
  }

  /** The gradient of {@code sum(above * function(v))}, by central differences. */
  private static double[] slope(double[] v, double[] above, Function function) {
    double[] slope = new double[v.length];
    for (int i = 0; i < v.length; i++) {
      double step = 1e-5 * Math.max(1, Math.abs(v[i]));
      double[] moved = v.clone();
      moved[i] = v[i] + step;
      double[] more = function.of(moved);
      moved[i] = v[i] - step;
      double[] less = function.of(moved);
      for (int j = 0; j < above.length; j++) {
        slope[i] += above[j] * (more[j] - less[j]) / (2 * step);
      }
    }
    return slope;
  }

  private static double[] doubles(Tensor t) {
    return moe4j.testing.Close.doubles(Tensors.floats(t));
  }
}
