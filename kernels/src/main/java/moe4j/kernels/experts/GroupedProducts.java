package moe4j.kernels.experts;

import moe4j.kernels.dropout.Dropout;
import org.bytedeco.pytorch.Tensor;

/**
 * The products of groups' two-layer MLPs, forward and backward, with all that lies between: by
 * kernels of ours on Hopper, and by their reference elsewhere. None of them records a gradient.
 *
 * <p>R rows lie one group after the other. Where an operand has a row for each token, the row r is
 * that of {@code token[r]}, and zeros where that is negative. What results hold after the last
 * group's end is not said, and what operands hold there has no effect.
 */
abstract class GroupedProducts {
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
  record Between(ExpertMlp.Activation activation, Dropout drop) {}

  /**
   * The first product's results.
   *
   * @param inner {@code x[token[r]] fc1[g]^T + bias1[g]}, [R, inputs f]
   * @param activated {@code weight[r] drop(act(inner[r]))}, [R, f]
   */
  record Up(Tensor inner, Tensor activated) {}

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
   * Whether kernels of ours compute products with such rows: no GPU has any so far.
   *
   * @param x [.., h]
   */
  static boolean take(Tensor x, ExpertMlp.Weights weights) {
    return false;
  }

  /** The products of some groups: kernels where {@link #take} says so, else the reference. */
  static GroupedProducts of(Tensor x, Groups groups, Between between) {
    return new PlainProducts(groups, between);
  }

  /** {@code inner} and {@code activated} of x, [T, h], or [R, h] where token is null. */
  abstract Up up(Tensor x, Tensor token);

  /** {@code activated[r] fc2[g]^T + weight[r] bias2[g]}, [R, h]. */
  abstract Tensor down(Tensor activated);

  /**
   * The gradients of {@link #up}'s results, of the weights and of the biases.
   *
   * @param gradient of {@link #down}'s result, [T, h], or [R, h] where token is null
   * @param inner as of {@link #up}
   */
  abstract Down backward(Tensor gradient, Tensor token, Tensor inner, Wanted wanted);

  /** {@code inner[r] fc1[g]}: the gradient of x, [R, h], of that of the first product. */
  abstract Tensor inputGradient(Tensor inner);

  /**
   * {@code sum_r left[r]^T right[r]} over each group's rows, zeros for a group without rows: [G,
   * left's columns, right's columns]. Of the two at most one has a row for each token.
   */
  abstract Tensor weightGradient(Tensor left, Tensor leftToken, Tensor right, Tensor rightToken);
}
