package moe4j.kernels.experts;

import java.util.function.UnaryOperator;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The products of groups' two-layer MLPs, forward and backward, with all that lies between: by
 * kernels of ours on Hopper, and by their reference elsewhere. None of them records a gradient.
 *
 * <p>R rows lie one group after the other. What results hold after the last group's end is not
 * said, and what operands hold there has no effect.
 */
abstract class GroupedProducts {
  /** The most groups whose ends a kernel holds. */
  private static final long MOST_GROUPS = 512;

  /** Rows begin at multiples of 16 bytes. */
  private static final long MULTIPLE = 8;

  /**
   * The groups and what is theirs.
   *
   * @param weights of the MLPs
   * @param offsets int32 [G], where each group ends
   * @param weight [R], of the rows
   */
  record Groups(ExpertMlp.Weights weights, Tensor offsets, Tensor weight) {
    /** R. */
    long rows() {
      return weight.numel();
    }
  }

  /**
   * What lies between the two products.
   *
   * @param drop of the activations, [R, f]
   */
  record Between(ExpertMlp.Activation activation, Dropout drop) {
    /** Whether the backward is made of what comes of the activation, and not of what goes there. */
    boolean keepsResult() {
      return activation.form() == ExpertMlp.Form.RELU;
    }

    /**
     * The gradient before the activation and its dropout, where the result is kept.
     *
     * @param gradient of the result
     */
    Tensor gradientByResult(Tensor gradient, Tensor result) {
      double factor = 1 / (1 - drop.p());
      if (Tensors.dtype(gradient) == ScalarType.BFloat16) {
        factor = HopperProducts.rounded((float) factor);
      }
      Tensor scaled = drop.isNone() ? gradient : gradient.mul(new Scalar(factor));
      return torch.threshold_backward(scaled, result, new Scalar(0));
    }
  }

  /**
   * The first product's results.
   *
   * @param kept for the backward: the product {@code x[r] fc1[g]^T} without the bias, [R, inputs
   *     f]; or, of ReLU, {@code drop(act(x[r] fc1[g]^T + bias1[g]))}, [R, f], which is above 0
   *     where its derivative is not 0, so that nothing has to be drawn again
   * @param activated {@code weight[r] drop(act(x[r] fc1[g]^T + bias1[g]))}, [R, f]
   */
  record Up(Tensor kept, Tensor activated) {}

  /** Which gradients are asked for beside that of the first product's result. */
  record Wanted(boolean weight, boolean bias1, boolean bias2) {}

  /**
   * Gradients; null for what was not asked for.
   *
   * @param inner of the first product's result with its bias, [R, inputs f]
   * @param weight of the rows' weights, [R]
   * @param bias1 [G, inputs f]
   * @param bias2 [G, h]
   */
  record Down(Tensor inner, Tensor weight, Tensor bias1, Tensor bias2) {}

  /**
   * Whether kernels of ours compute products with such rows: bf16 on a Hopper, in sizes that are
   * multiples of 8, the weights beginning at multiples of 16 bytes.
   *
   * @param x [.., h]
   */
  static boolean take(Tensor x, ExpertMlp.Weights weights) {
    Tensor fc1 = weights.fc1();
    return Kernels.take(x)
        && Cuda.isHopper()
        && Tensors.dtype(x) == ScalarType.BFloat16
        && Tensors.dtype(fc1) == ScalarType.BFloat16
        && fc1.size(0) <= MOST_GROUPS
        && fc1.size(1) % MULTIPLE == 0
        && fc1.size(2) % MULTIPLE == 0
        && weights.fc2().size(2) % MULTIPLE == 0
        && Launch.aligned(fc1, weights.fc2(), weights.bias1(), weights.bias2());
  }

  /**
   * The products of some groups: kernels where {@link #take} says so, else the reference.
   *
   * @param keep keeps a tensor for the backward
   */
  static GroupedProducts of(Groups groups, Between between, UnaryOperator<Tensor> keep) {
    return take(groups.weights().fc1(), groups.weights())
        ? new HopperProducts(groups, between, keep)
        : new PlainProducts(groups, between);
  }

  /** The first product of x, [R, h], and what comes of it. */
  abstract Up up(Tensor x);

  /** {@code activated[r] fc2[g]^T + weight[r] bias2[g]}, [R, h]. */
  abstract Tensor down(Tensor activated);

  /**
   * The gradients of {@link #up}'s results, of the weights and of the biases.
   *
   * @param gradient of {@link #down}'s result, [R, h]
   * @param kept as of {@link #up}
   */
  abstract Down backward(Tensor gradient, Tensor kept, Wanted wanted);

  /** {@code inner[r] fc1[g]}: the gradient of x, [R, h], of that of the first product. */
  abstract Tensor inputGradient(Tensor inner);

  /**
   * {@code sum_r left[r]^T right[r]} over each group's rows, zeros for a group without rows: [G,
   * left's columns, right's columns].
   *
   * @param parameter whose gradient that is: a kernel leaves the sum of its squares ({@link
   *     KnownSquares})
   */
  abstract Tensor weightGradient(Tensor left, Tensor right, Tensor parameter);

  /** Adds {@link #weightGradient} to the sum of a parameter's gradients, rounded as it is there. */
  void addWeightGradient(Tensor left, Tensor right, GradientSum sum) {
    sum.add(weightGradient(left, right, sum.parameter()));
  }
}
