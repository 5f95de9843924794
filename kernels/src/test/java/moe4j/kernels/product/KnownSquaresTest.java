package moe4j.kernels.product;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;

import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

/** A sum of squares is known of the gradient that was written, and of no other. */
public class KnownSquaresTest {
  /** The sum of a weight's elements times x, whose gradient leaves its sum of squares. */
  private static final class Product extends CustomFunction {
    private Tensor x;
    private Tensor weight;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      weight = save(inputs[0]);
      x = save(inputs[1]);
      return new Tensor[] {weight.mul(x).sum().view(1)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor gradient = x.mul(gradients[0]);
      KnownSquares.leave(weight, gradient, gradient.square());
      return new Tensor[] {gradient, null};
    }
  }

  private static void backward(Tensor weight, Tensor x) {
    new Product().apply(weight, x)[0].sum().backward();
  }

  @Test
  public void itHoldsForTheGradientThatWasWritten() {
    Scopes.run(
        () -> {
          Tensor weight = torch.ones(3).set_requires_grad(true);
          Tensor x = Tensors.of(new float[] {1, 2, 3}, 3);
          backward(weight, x);
          CustomFunction.settle();
          Tensor squares = KnownSquares.of(weight, weight.grad());
          assertNotNull(squares);
          assertEquals(Tensors.item(squares.sum()), 14.0);
          assertNull(KnownSquares.of(x, weight.grad()), "of another parameter");
          assertNull(KnownSquares.of(weight, weight.grad().clone()), "of a copy");
          // A second micro-batch is added to the first one's gradient where it lies.
          backward(weight, x);
          assertEquals(Tensors.floats(weight.grad()), new float[] {2, 4, 6});
          assertNull(KnownSquares.of(weight, weight.grad()), "of a sum");
          KnownSquares.forget(weight);
        });
  }

  /**
   * Where two functions share a weight, its gradient is the sum of what both give, and the squares
   * that either has left are not the sum's.
   */
  @Test
  public void itDoesNotHoldForASumOfTwo() {
    Scopes.run(
        () -> {
          Tensor weight = torch.ones(3).set_requires_grad(true);
          Tensor x = Tensors.of(new float[] {1, 2, 3}, 3);
          Tensor once = new Product().apply(weight, x)[0];
          Tensor twice = new Product().apply(weight, x)[0];
          torch.cat(new TensorVector(once, twice), 0).sum().backward();
          assertEquals(Tensors.floats(weight.grad()), new float[] {2, 4, 6});
          assertNull(KnownSquares.of(weight, weight.grad()));
          KnownSquares.forget(weight);
        });
  }

  @Test
  public void whatIsForgottenIsNotKnown() {
    Scopes.run(
        () -> {
          Tensor weight = torch.ones(2);
          Tensor gradient = torch.ones(2);
          KnownSquares.leave(weight, gradient, torch.ones(1));
          KnownSquares.leave(weight, gradient, torch.ones(5));
          assertEquals(KnownSquares.of(weight, gradient).numel(), 5L);
          KnownSquares.forget(weight);
          assertNull(KnownSquares.of(weight, gradient));
          KnownSquares.forget(weight);
        });
  }
}
