package moe4j.kernels.product;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotSame;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Function;
import moe4j.kernels.experts.ExpertMlp;
import moe4j.kernels.experts.GroupedMatmul;
import moe4j.kernels.product.Bf16Products.Way;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Products of bf16 through fp32, against libtorch's own and against fp64. */
public class Bf16ProductsTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(Bf16ProductsTest.class);
    scope = new PointerScope();
    Bf16Products.use(Way.FP32);
  }

  @AfterMethod
  public void close() {
    Bf16Products.use(null);
    scope.close();
  }

  @Test
  public void theProcessorDecidesUnlessTheEnvironmentDoes() {
    List<String> avx2 = List.of("fma", "avx2");
    List<String> imitating = List.of("avx2", "avx512f", "avx512bw");
    List<String> native512 = List.of("avx2", "avx512f", "avx512_bf16");
    assertEquals(Bf16Products.choose(null, avx2, false).way(), Way.FP32);
    assertEquals(Bf16Products.choose(null, imitating, true).way(), Way.FP32);
    assertEquals(Bf16Products.choose(null, native512, true).way(), Way.NATIVE);
    assertEquals(Bf16Products.choose(null, native512, false).way(), Way.FP32);
    assertEquals(Bf16Products.choose(null, List.of("fp", "bf16"), true).way(), Way.NATIVE);
    assertEquals(Bf16Products.choose(null, null, true).way(), Way.NATIVE);
    assertEquals(Bf16Products.choose(null, null, false).way(), Way.FP32);
    assertEquals(Bf16Products.choose("native", avx2, false).way(), Way.NATIVE);
    assertEquals(Bf16Products.choose(" FP32 ", native512, true).way(), Way.FP32);
    assertEquals(Bf16Products.choose("", native512, true).way(), Way.NATIVE);
    IllegalArgumentException wrong = null;
    try {
      Bf16Products.choose("fast", avx2, false);
    } catch (IllegalArgumentException e) {
      wrong = e;
    }
    assertEquals(
        wrong.getMessage(), "MOE4J_BF16_PRODUCTS=fast in the environment: it is native or fp32");
  }

  @Test
  public void linear() {
    for (int[] size : new int[][] {{1, 1, 1}, {5, 33, 17}, {70, 64, 130}, {1100, 40, 24}}) {
      for (boolean biased : new boolean[] {true, false}) {
        List<Tensor> inputs = new ArrayList<>(List.of(normals(size[0], size[1])));
        inputs.add(normals(size[2], size[1]));
        if (biased) {
          inputs.add(normals(size[2]));
        }
        compare(inputs, in -> Gemm.linear(in.get(0), in.get(1), biased ? in.get(2) : null));
      }
    }
    compare(
        List.of(normals(3, 4, 20), normals(9, 20)), in -> Gemm.linear(in.get(0), in.get(1), null));
  }

  @Test
  public void batchedProducts() {
    compare(
        List.of(normals(2, 3, 10, 16), normals(2, 3, 16, 7)),
        in -> Bf16Products.matmul(in.get(0), in.get(1)));
    compare(
        List.of(normals(4, 9, 16), normals(16, 8)),
        in -> Bf16Products.matmul(in.get(0), in.get(1)));
  }

  @Test
  public void groupedProducts() {
    Tensor offsets = torch.cumsum(Tensors.of(new long[] {5, 0, 11}), 0).to(ScalarType.Int);
    compare(
        List.of(normals(16, 24), normals(3, 32, 24)),
        in -> GroupedMatmul.linear(in.get(0), in.get(1), offsets));
  }

  /** Several products in a row: each rounding may differ, so that only norms are compared. */
  @Test
  public void experts() {
    Tensor offsets = torch.cumsum(Tensors.of(new long[] {19, 0, 41, 7}), 0).to(ScalarType.Int);
    ExpertMlp.Activation gelu =
        new ExpertMlp.Activation() {
          @Override
          public Tensor apply(Tensor x) {
            return torch.gelu(x);
          }

          @Override
          public Tensor gradient(Tensor gradient, Tensor x) {
            return torch.gelu_backward(gradient, x);
          }
        };
    List<Tensor> inputs =
        List.of(
            normals(70, 24), normals(70), normals(4, 40, 24), normals(4, 24, 40), normals(4, 40));
    Function<List<Tensor>, Tensor> mlp =
        in ->
            ExpertMlp.apply(
                in.get(0),
                in.get(1),
                new ExpertMlp.Weights(in.get(2), in.get(4), in.get(3), null),
                offsets,
                gelu);
    List<Tensor> ours = run(Way.FP32, ScalarType.BFloat16, inputs, mlp);
    List<Tensor> libtorch = run(Way.NATIVE, ScalarType.BFloat16, inputs, mlp);
    List<Tensor> exact = run(Way.FP32, ScalarType.Double, inputs, mlp);
    for (int i = 0; i < ours.size(); i++) {
      assertEquals(Tensors.dtype(ours.get(i)), ScalarType.BFloat16);
      assertTrue(distance(ours.get(i), exact.get(i)) < 1e-2, "result " + i);
      assertTrue(distance(ours.get(i), libtorch.get(i)) < 8e-3, "result " + i);
    }
  }

  /** What libtorch counts: an optimizer's update, a checkpoint's values. */
  @Test
  public void aChangedWeightIsSeen() {
    Tensor weight = leaf(normals(6, 8), ScalarType.BFloat16);
    Tensor x = normals(3, 8);
    WideWeights.hold(weight);
    try {
      Tensor before = Gemm.linear(x, weight, null);
      change(() -> weight.detach().copy_(normals(6, 8)));
      assertFollows(x, weight, before);
      Tensor second = Gemm.linear(x, weight, null);
      change(() -> weight.set_data(normals(6, 8)));
      assertFollows(x, weight, second);
    } finally {
      WideWeights.release(weight);
    }
  }

  /** What it does not: memory that is written to directly. */
  @Test
  public void aWeightWrittenBehindLibtorchsBackIsSeenWhenTold() throws Exception {
    Tensor weight = leaf(normals(6, 8), ScalarType.BFloat16);
    Tensor x = normals(3, 8);
    WideWeights.hold(weight);
    try {
      Tensor before = Gemm.linear(x, weight, null);
      Tensor other = normals(6, 8);
      ByteBuffer bytes = Tensors.window(other, 0, other.nbytes());
      Tensors.window(weight, 0, weight.nbytes()).put(bytes);
      WideWeights.changed();
      assertFollows(x, weight, before);
    } finally {
      WideWeights.release(weight);
    }
  }

  /** One image, whatever multiplies by it, and none when nobody holds the weight. */
  @Test
  public void anImageIsKept() {
    Tensor weight = leaf(normals(6, 8), ScalarType.BFloat16);
    long bytes = WideWeights.bytes();
    WideWeights.hold(weight);
    Tensor image = WideWeights.of(weight);
    assertSame(WideWeights.of(weight.detach()), image);
    long pointers = Scopes.livePointers();
    for (int microBatch = 0; microBatch < 3; microBatch++) {
      Scopes.run(() -> Gemm.linear(normals(5, 8), weight, null).sum().backward());
      assertSame(WideWeights.of(weight), image);
      change(() -> weight.mul_(new Scalar(0.5)));
    }
    assertEquals(WideWeights.bytes() - bytes, 4 * weight.numel());
    assertEquals(Tensors.dtype(image), ScalarType.Float);
    assertTrue(Scopes.livePointers() - pointers < 20, "what is made for an image goes at once");
    WideWeights.release(weight);
    assertEquals(WideWeights.bytes(), bytes);
    assertTrue(image.isNull());
    assertNotSame(WideWeights.of(weight), image);
    assertEquals(WideWeights.bytes(), bytes, "of a weight that nobody holds nothing is kept");
  }

  /** No image takes a part of a weight for all of it, and a transposed one is found. */
  @Test
  public void partsAreNotTheWhole() {
    Tensor weight = leaf(normals(6, 8), ScalarType.BFloat16);
    WideWeights.hold(weight);
    try {
      WideWeights.of(weight);
      for (Tensor view :
          List.of(
              weight.detach(),
              weight.detach().t(),
              weight.detach().narrow(0, 0, 3),
              weight.detach().narrow(1, 0, 3),
              weight.detach().view(8, 6),
              weight.detach().select(0, 0))) {
        assertTrue(WideWeights.of(view).equal(view.to(ScalarType.Float)), Tensors.shape(view));
      }
    } finally {
      WideWeights.release(weight);
    }
    assertThrows(IllegalArgumentException.class, () -> Bf16Products.choose("both", null, true));
  }

  private static void assertFollows(Tensor x, Tensor weight, Tensor before) {
    Tensor after = Gemm.linear(x, weight, null);
    assertTrue(!after.equal(before), "the product is still the old weight's");
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor wide = x.to(ScalarType.Float).matmul(weight.to(ScalarType.Float).t());
      assertTrue(distance(after, wide) < 4e-3);
    }
  }

  private static void change(Runnable body) {
    try (NoGradGuard guard = new NoGradGuard()) {
      body.run();
    }
  }

  /** One product each way: roundings of the same numbers but for the order of a sum. */
  private void compare(List<Tensor> inputs, Function<List<Tensor>, Tensor> function) {
    List<Tensor> ours = run(Way.FP32, ScalarType.BFloat16, inputs, function);
    List<Tensor> libtorch = run(Way.NATIVE, ScalarType.BFloat16, inputs, function);
    List<Tensor> wide = run(Way.NATIVE, ScalarType.Float, inputs, function);
    for (int i = 0; i < ours.size(); i++) {
      String name = "result " + i + " of " + Tensors.shape(ours.get(i));
      assertEquals(Tensors.dtype(ours.get(i)), ScalarType.BFloat16, name);
      assertTrue(distance(ours.get(i), wide.get(i)) < 4e-3, name);
      assertTrue(distance(ours.get(i), libtorch.get(i)) < 8e-3, name);
      assertRoundedAlike(ours.get(i), wide.get(i), name);
    }
  }

  /** What fp32 gives, rounded: at most an ulp off where sums differ and not many of them. */
  private static void assertRoundedAlike(Tensor ours, Tensor wide, String name) {
    float[] a = Tensors.floats(ours);
    float[] b = Tensors.floats(wide.to(ScalarType.BFloat16));
    int off = 0;
    for (int i = 0; i < a.length; i++) {
      // Where terms cancel, the sums' order shows in more than the last place.
      boolean cancelled = Math.abs(b[i]) < 1e-2;
      float ulp = Math.max(Math.abs(b[i]), Float.MIN_NORMAL) / 128;
      assertTrue(cancelled || Math.abs(a[i] - b[i]) <= ulp, name + ": " + a[i] + ", " + b[i]);
      off += a[i] == b[i] ? 0 : 1;
    }
    assertTrue(off <= 1 + a.length / 100, name + ": " + off + " of " + a.length + " differ");
  }

  private static List<Tensor> run(
      Way way, ScalarType type, List<Tensor> inputs, Function<List<Tensor>, Tensor> function) {
    Bf16Products.use(way);
    List<Tensor> leaves = inputs.stream().map(t -> leaf(t, type)).toList();
    Tensor result = function.apply(leaves);
    // The same upstream gradient each time, and one that bf16 has exactly.
    Tensor upstream =
        torch
            .arange(new Scalar((double) result.numel()))
            .remainder(new Scalar(7.0))
            .sub(new Scalar(3.0))
            .view(result.shape())
            .to(type);
    torch.sum(result.mul(upstream)).backward();
    List<Tensor> results = new ArrayList<>(List.of(result.detach()));
    leaves.forEach(leaf -> results.add(leaf.grad().detach().clone()));
    return results;
  }

  private static double distance(Tensor a, Tensor b) {
    Tensor exact = b.to(ScalarType.Double);
    double norm = Tensors.item(exact.norm());
    return Tensors.item(a.to(ScalarType.Double).sub(exact).norm()) / Math.max(norm, 1e-12);
  }

  private static Tensor leaf(Tensor t, ScalarType type) {
    return t.to(type).clone().detach().set_requires_grad(true);
  }

  /** Numbers that bf16 has. */
  private Tensor normals(long... shape) {
    float[] values = new float[(int) Arrays.stream(shape).reduce(1, (a, b) -> a * b)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return Tensors.of(values, shape).to(ScalarType.BFloat16);
  }
}
