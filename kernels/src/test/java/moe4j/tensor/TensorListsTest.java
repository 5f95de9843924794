package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class TensorListsTest {
  private static final int[] SIZES = {1, 5, 64, 1000};
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;
  private static final double EPSILON = 1e-8;
  private static final double DECAY = 0.1;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(TensorListsTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private List<Tensor> normals() {
    List<Tensor> list = new ArrayList<>();
    for (int size : SIZES) {
      list.add(Tensors.of(Seeds.normals(random, size)));
    }
    return list;
  }

  private static List<Tensor> zeros() {
    List<Tensor> list = new ArrayList<>();
    for (int size : SIZES) {
      list.add(torch.zeros(size));
    }
    return list;
  }

  private static Tensor scalar(double value) {
    return Tensors.full(value, ScalarType.Float, new Device("cpu"));
  }

  private static List<float[]> floats(List<Tensor> tensors) {
    return tensors.stream().map(Tensors::floats).toList();
  }

  private static void assertSameFloats(List<Tensor> actual, List<float[]> expected) {
    for (int i = 0; i < expected.size(); i++) {
      assertEquals(Tensors.floats(actual.get(i)), expected.get(i));
    }
  }

  private static double norm(List<float[]> lists) {
    double sum = 0;
    for (float[] list : lists) {
      sum += Math.pow(Close.norm(Close.doubles(list)), 2);
    }
    return Math.sqrt(sum);
  }

  @Test
  public void theNormIsThatOfAllElements() {
    List<Tensor> tensors = normals();
    Tensor norm = TensorLists.norm(tensors);
    assertEquals(norm.dim(), 0);
    assertSame(Tensors.dtype(norm), ScalarType.Float);
    double expected = norm(floats(tensors));
    assertEquals(Tensors.item(norm), expected, 1e-6 * expected);
    tensors.get(1).select(0, 2).fill_(new Scalar(Float.NaN));
    assertEquals(Tensors.item(TensorLists.norm(tensors)), Double.NaN);
    tensors.get(1).select(0, 2).fill_(new Scalar(Float.POSITIVE_INFINITY));
    assertEquals(Tensors.item(TensorLists.norm(tensors)), Double.POSITIVE_INFINITY);
  }

  /** A sum in bf16 would be off by a per cent. */
  @Test
  public void theNormOfBf16IsSummedInFp32() {
    List<Tensor> tensors = new ArrayList<>();
    normals().forEach(t -> tensors.add(t.to(ScalarType.BFloat16)));
    double expected = norm(floats(tensors));
    assertSame(Tensors.dtype(TensorLists.norm(tensors)), ScalarType.Float);
    assertEquals(Tensors.item(TensorLists.norm(tensors)), expected, 1e-5 * expected);
  }

  @Test
  public void copiesAndSumsConvert() {
    List<Tensor> sources = new ArrayList<>();
    normals().forEach(t -> sources.add(t.to(ScalarType.BFloat16)));
    List<Tensor> targets = zeros();
    TensorLists.copy(targets, sources);
    assertSameFloats(targets, floats(sources));
    // 256 + 1 is not a bf16 number: the sum has the target's type.
    List<Tensor> sums = List.of(torch.full(new long[] {2}, new Scalar(256.0)));
    TensorLists.add(sums, List.of(torch.ones(2).to(ScalarType.BFloat16)));
    assertEquals(Tensors.floats(sums.get(0)), new float[] {257, 257});
    List<Tensor> rounded = List.of(torch.zeros(1).to(ScalarType.BFloat16));
    TensorLists.copy(rounded, List.of(Tensors.of(new float[] {257})));
    assertEquals(Tensors.floats(rounded.get(0)), new float[] {256});
  }

  /** The update's equations in fp64, over five steps. */
  @Test
  public void adamwIsTheClosedForm() {
    double rate = 1e-2;
    double scale = 2.5;
    List<Tensor> parameters = normals();
    List<Tensor> first = zeros();
    List<Tensor> second = zeros();
    List<double[]> exact = new ArrayList<>();
    List<double[]> m = new ArrayList<>();
    List<double[]> v = new ArrayList<>();
    for (Tensor parameter : parameters) {
      exact.add(Close.doubles(Tensors.floats(parameter)));
      m.add(new double[(int) parameter.numel()]);
      v.add(new double[(int) parameter.numel()]);
    }
    for (int step = 1; step <= 5; step++) {
      List<Tensor> gradients = normals();
      List<float[]> given = floats(gradients);
      adamw(parameters, gradients, first, second, step, rate, scale, 0);
      for (int i = 0; i < exact.size(); i++) {
        double[] p = exact.get(i);
        for (int j = 0; j < p.length; j++) {
          double g = given.get(i)[j] / scale;
          m.get(i)[j] = BETA1 * m.get(i)[j] + (1 - BETA1) * g;
          v.get(i)[j] = BETA2 * v.get(i)[j] + (1 - BETA2) * g * g;
          double mHat = m.get(i)[j] / (1 - Math.pow(BETA1, step));
          double vHat = v.get(i)[j] / (1 - Math.pow(BETA2, step));
          p[j] -= rate * DECAY * p[j];
          p[j] -= rate * mHat / (Math.sqrt(vHat) + EPSILON);
        }
        Close.assertClose("parameter", Tensors.floats(parameters.get(i)), p, 1e-6, 1e-2);
        Close.assertClose("exp_avg", Tensors.floats(first.get(i)), m.get(i), 1e-6, 0.1);
        Close.assertClose("exp_avg_sq", Tensors.floats(second.get(i)), v.get(i), 1e-6, 0.1);
        double[] scaled = Close.doubles(given.get(i));
        for (int j = 0; j < scaled.length; j++) {
          scaled[j] /= scale;
        }
        Close.assertClose("gradient", Tensors.floats(gradients.get(i)), scaled, 1e-6, 1e-2);
      }
    }
  }

  @Test
  public void aFoundInfLeavesNoTrace() {
    List<Tensor> parameters = normals();
    List<Tensor> first = normals();
    List<Tensor> second = new ArrayList<>();
    normals().forEach(t -> second.add(t.abs()));
    List<float[]> before = floats(parameters);
    List<float[]> firstBefore = floats(first);
    List<float[]> secondBefore = floats(second);
    List<Tensor> gradients = normals();
    gradients.get(2).select(0, 5).fill_(new Scalar(Float.NaN));
    gradients.get(3).select(0, 7).fill_(new Scalar(Float.POSITIVE_INFINITY));
    adamw(parameters, gradients, first, second, 3, 1e-2, Double.NaN, 1);
    assertSameFloats(parameters, before);
    assertSameFloats(first, firstBefore);
    assertSameFloats(second, secondBefore);
  }

  private static void adamw(
      List<Tensor> parameters,
      List<Tensor> gradients,
      List<Tensor> first,
      List<Tensor> second,
      int step,
      double rate,
      double scale,
      double foundInf) {
    TensorLists.adamw(
        parameters,
        gradients,
        first,
        second,
        scalar(step),
        scalar(rate),
        BETA1,
        BETA2,
        DECAY,
        EPSILON,
        scalar(scale),
        scalar(foundInf));
  }
}
