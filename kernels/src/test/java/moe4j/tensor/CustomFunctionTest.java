package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

public class CustomFunctionTest {

  /** {@code x w} in bf16 and the sums of x's rows in fp32: two shapes, two types. */
  private static final class Product extends CustomFunction {
    private Tensor x;
    private Tensor w;
    private int backwards;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      w = save(inputs[1]);
      return new Tensor[] {inputs[0].mm(inputs[1]).to(ScalarType.BFloat16), inputs[0].sum(1)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      backwards++;
      Tensor product = gradients[0] == null ? null : gradients[0].to(ScalarType.Float);
      Tensor gx = torch.zeros_like(x);
      if (product != null) {
        gx = gx.add(product.mm(w.t()));
      }
      if (gradients[1] != null) {
        gx = gx.add(gradients[1].unsqueeze(1));
      }
      Tensor gw = product == null ? torch.zeros_like(w) : x.t().mm(product);
      return new Tensor[] {needsGradient(0) ? gx : null, needsGradient(1) ? gw : null};
    }
  }

  private static Tensor x() {
    return Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 3, 2);
  }

  private static Tensor w() {
    return Tensors.of(new float[] {1, -1, 2, 0.5f, 3, -2, 1, 4}, 2, 4);
  }

  /** What libtorch's own gradients of the same are. */
  private static Tensor[] reference(Tensor x, Tensor w, boolean product, boolean sums) {
    Tensor a = x.detach().clone().set_requires_grad(true);
    Tensor b = w.detach().clone().set_requires_grad(true);
    total(a, a.mm(b).to(ScalarType.BFloat16), a.sum(1), product, sums).backward();
    return new Tensor[] {a.grad(), b.grad()};
  }

  /** A loss in which x also stands beside the function. */
  private static Tensor total(
      Tensor x, Tensor product, Tensor sums, boolean useProduct, boolean useSums) {
    Tensor total = x.square().sum();
    if (useProduct) {
      total = total.add(product.mul(new Scalar(2)).to(ScalarType.Float).sum());
    }
    if (useSums) {
      total = total.add(sums.mul(Tensors.of(new float[] {1, 2, 3})).sum());
    }
    return total;
  }

  /** Of so many elements there is no memory: nothing of a graph's links may be computed. */
  @Test
  public void linksAreOnTheMetaDevice() {
    try (PointerScope scope = new PointerScope()) {
      Tensor huge = CustomFunction.meta(1L << 30, 1L << 20);
      assertTrue(huge.is_meta());
      assertTrue(huge.sum().is_meta());
    }
  }

  @Test
  public void severalInputsAndOutputsOfOtherShapesAndTypes() {
    boolean[][] uses = {{true, true}, {true, false}, {false, true}};
    for (boolean[] use : uses) {
      try (PointerScope scope = new PointerScope()) {
        Tensor x = x().set_requires_grad(true);
        Tensor w = w().set_requires_grad(true);
        Product function = new Product();
        Tensor[] y = function.apply(x, w);
        assertSame(Tensors.dtype(y[0]), ScalarType.BFloat16);
        assertEquals(y[0].shape(), new long[] {3, 4});
        assertEquals(y[1].shape(), new long[] {3});
        total(x, y[0], y[1], use[0], use[1]).backward();
        Tensor[] expected = reference(x, w, use[0], use[1]);
        assertEquals(Tensors.floats(x.grad()), Tensors.floats(expected[0]));
        float[] gw = use[0] ? Tensors.floats(expected[1]) : new float[8];
        assertEquals(Tensors.floats(w.grad()), gw);
        assertEquals(function.backwards, 1);
      }
    }
  }

  @Test
  public void onlyWhatNeedsAGradientGetsOne() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = x();
      Tensor w = w().set_requires_grad(true);
      Tensor[] y = new Product().apply(x, w);
      total(x, y[0], y[1], true, true).backward();
      assertFalse(x.grad().defined());
      assertEquals(Tensors.floats(w.grad()), Tensors.floats(reference(x, w, true, true)[1]));
      Product constant = new Product();
      assertFalse(constant.apply(x, w())[0].requires_grad());
      try (NoGradGuard guard = new NoGradGuard()) {
        assertFalse(new Product().apply(x, w)[0].requires_grad());
      }
    }
  }

  /** The layer container closes what a layer made before the backward runs. */
  @Test
  public void theScopeOfTheForwardMayBeClosed() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = x().set_requires_grad(true);
      Tensor w = w().set_requires_grad(true);
      Tensor y =
          Scopes.compute(
              () ->
                  Scopes.compute(
                      () -> {
                        Tensor input = x.mul(new Scalar(1));
                        return new Product().apply(input, w.mul(new Scalar(1)))[0];
                      }));
      System.gc();
      Scopes.run(() -> y.to(ScalarType.Float).sum().backward());
      Tensor a = x().set_requires_grad(true);
      Tensor b = w().set_requires_grad(true);
      a.mm(b).to(ScalarType.BFloat16).to(ScalarType.Float).sum().backward();
      assertEquals(Tensors.floats(x.grad()), Tensors.floats(a.grad()));
      assertEquals(Tensors.floats(w.grad()), Tensors.floats(b.grad()));
    }
  }

  @Test
  public void withoutAnyScope() {
    Tensor x = x().set_requires_grad(true);
    Tensor w = w().set_requires_grad(true);
    Tensor y = new Product().apply(x, w)[0];
    System.gc();
    y.to(ScalarType.Float).sum().backward();
    assertEquals(Tensors.floats(w.grad()), new float[] {9, 9, 9, 9, 12, 12, 12, 12});
    for (Tensor t : new Tensor[] {x, w, y}) {
      t.close();
    }
  }

  @Test
  public void chains() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = Tensors.of(new float[] {1, 2, 3, 4}, 2, 2).set_requires_grad(true);
      Tensor w = Tensors.of(new float[] {0, 1, 1, 0}, 2, 2).set_requires_grad(true);
      Tensor once = new Product().apply(x, w)[0].to(ScalarType.Float);
      Tensor twice = new Product().apply(once, w)[0].to(ScalarType.Float);
      twice.mul(Tensors.of(new float[] {1, 2, 3, 4}, 2, 2)).sum().backward();
      // w swaps columns, so that twice is x again.
      assertEquals(Tensors.floats(twice), new float[] {1, 2, 3, 4});
      assertEquals(Tensors.floats(x.grad()), new float[] {1, 2, 3, 4});
      Tensor a = x.detach().clone();
      Tensor b = w.detach().clone().set_requires_grad(true);
      a.mm(b).mm(b).mul(Tensors.of(new float[] {1, 2, 3, 4}, 2, 2)).sum().backward();
      assertEquals(Tensors.floats(w.grad()), Tensors.floats(b.grad()));
    }
  }

  /** A micro-step's scope takes with it all that its functions made, used or not. */
  @Test
  public void stepsLeaveNothingBehind() {
    Tensor x = Scopes.keep(() -> x().set_requires_grad(true));
    Tensor w = Scopes.keep(() -> w().set_requires_grad(true));
    long before = 0;
    for (int step = 0; step < 30; step++) {
      if (step == 10) {
        before = Scopes.livePointers();
      }
      boolean backward = step % 3 != 0;
      Scopes.run(
          () -> {
            Tensor[] y = new Product().apply(x, w);
            if (backward) {
              total(x, y[0], y[1], true, true).backward();
            }
          });
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    assertTrue(x.grad().defined());
    x.close();
    w.close();
  }

  @Test
  public void anUnusedOutputsGradientIsNone() {
    try (PointerScope scope = new PointerScope()) {
      Tensor[] seen = new Tensor[2];
      boolean[] called = new boolean[1];
      CustomFunction function =
          new CustomFunction() {
            @Override
            protected Tensor[] forward(Tensor[] inputs) {
              return new Tensor[] {inputs[0].add(inputs[0]), inputs[0].neg()};
            }

            @Override
            protected Tensor[] backward(Tensor[] gradients) {
              called[0] = true;
              seen[0] = gradients[0];
              seen[1] = gradients[1];
              return new Tensor[] {gradients[1].neg()};
            }
          };
      Tensor x = x().set_requires_grad(true);
      function.apply(x)[1].sum().backward();
      assertTrue(called[0]);
      assertNull(seen[0]);
      assertEquals(Tensors.floats(x.grad()), new float[] {-1, -1, -1, -1, -1, -1});
    }
  }

  @Test
  public void outputsWithoutElements() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = torch.empty(0, 2).set_requires_grad(true);
      Tensor w = w().set_requires_grad(true);
      Product function = new Product();
      Tensor[] outputs = function.apply(x, w);
      outputs[0].to(ScalarType.Float).sum().add(outputs[1].sum()).backward();
      assertEquals(function.backwards, 1);
      assertEquals(x.grad().shape(), new long[] {0, 2});
      assertEquals(Tensors.floats(w.grad()), new float[8]);
    }
  }

  @Test
  public void settledNothingIsHeld() {
    for (int round = 0; round < 3; round++) {
      CustomFunction.settle();
      long before = Scopes.livePointers();
      Scopes.run(
          () -> {
            Tensor x = x().set_requires_grad(true);
            Tensor[] outputs = new Product().apply(x, w().set_requires_grad(true));
            outputs[0].to(ScalarType.Float).sum().backward();
            CustomFunction.settle();
            assertTrue(x.grad().defined());
          });
      // The first round makes what lasts.
      assertTrue(round == 0 || Scopes.livePointers() == before, "round " + round);
    }
  }

  /**
   * Hands its input on beside twice the same and its sum, and adds up all gradients in the memory
   * of one.
   */
  private static final class Beside extends CustomFunction {
    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {inputs[0].mul(new Scalar(2)), inputs[0].detach(), inputs[0].sum()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor more = gradients[0].mul(new Scalar(2)).add(gradients[2]);
      return new Tensor[] {new Tensor(gradients[1].add_(more))};
    }
  }

  @Test
  public void anOutputMayBeTheInputOnceMore() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = Tensors.of(new float[] {1, 2, 3}).set_requires_grad(true);
      Tensor given = x.mul(new Scalar(1));
      Tensor[] outputs = new Beside().apply(given);
      assertEquals(outputs[1].data_ptr(), given.data_ptr());
      Tensor squares = outputs[1].mul(outputs[1]);
      Tensor total = outputs[0].mul(Tensors.of(new float[] {5, 7, 11})).add(squares).sum();
      total.add(outputs[2].mul(new Scalar(100))).backward();
      // 2 * 5 + 2 * 1 + 100, 2 * 7 + 2 * 2 + 100, 2 * 11 + 2 * 3 + 100
      assertEquals(Tensors.floats(x.grad()), new float[] {112, 118, 128});
      assertEquals(Tensors.floats(given), new float[] {1, 2, 3});
    }
  }
}
