package moe4j.moe.bench;

import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.transformer.Activation;

/**
 * What a feed-forward layer costs an implementation that reads each operand of a product once,
 * writes each result once, gathers tokens' rows while it multiplies, and computes activations and
 * weights beside the product. The floor is the sum, over the products, of the larger of two times:
 * what the FLOPs take and what the bytes take. Sums of experts' rows by token are added.
 *
 * @param flops of all products
 * @param bytes read and written
 * @param seconds it takes at least
 */
public record LayerFloor(double flops, double bytes, double seconds) {
  private static final LayerFloor NOTHING = new LayerFloor(0, 0, 0);

  /**
   * A layer's rows.
   *
   * @param tokens T
   * @param topk k, rows a token
   * @param hidden h
   * @param inner f
   * @param experts E
   */
  private record Rows(double tokens, double topk, double hidden, double inner, double experts) {}

  /** Adds up for one type of numbers on one device. */
  private record Sum(Ceilings ceilings, int elementBytes, Activation activation) {

    LayerFloor product(double flops, double elements) {
      double bytes = elements * elementBytes;
      double floor = ceilings.floor(new Cost(Math.round(bytes), flops));
      return new LayerFloor(flops, bytes, floor);
    }

    LayerFloor forward(Rows r, boolean keeps) {
      double rows = r.tokens * r.topk;
      int inputs = activation.inputs();
      double read = Math.min(r.experts, rows) * r.hidden * r.inner;
      double flops = 2 * rows * r.hidden * r.inner;
      double kept = keeps ? inputs * rows * r.inner : 0;
      double up = r.tokens * r.hidden + inputs * read + kept + rows * r.inner;
      return product(inputs * flops, up)
          .plus(product(flops, rows * r.inner + read + rows * r.hidden))
          .plus(combined(r));
    }

    /** The gradients of both products' operands. */
    LayerFloor backward(Rows r) {
      double rows = r.tokens * r.topk;
      int inputs = activation.inputs();
      double read = Math.min(r.experts, rows) * r.hidden * r.inner;
      double written = r.experts * r.hidden * r.inner;
      double flops = 2 * rows * r.hidden * r.inner;
      double inner = rows * r.inner;
      double outside = r.tokens * r.hidden;
      return product(flops, outside + read + 2 * inputs * inner)
          .plus(product(inputs * flops, inputs * (inner + read) + rows * r.hidden))
          .plus(product(flops, outside + inner + written))
          .plus(product(inputs * flops, inputs * (inner + written) + outside))
          .plus(combined(r));
    }

    /** Experts' rows added up by token. A dense layer's output is the sum already. */
    private LayerFloor combined(Rows r) {
      return r.experts == 1 ? NOTHING : product(0, r.tokens * r.hidden * (r.topk + 1));
    }
  }

  private LayerFloor plus(LayerFloor other) {
    return new LayerFloor(flops + other.flops, bytes + other.bytes, seconds + other.seconds);
  }

  /**
   * A layer with experts, the shared one among them.
   *
   * @param backward whether with the backward, for which the forward keeps what it computes
   */
  static LayerFloor experts(
      BenchShape shape, boolean backward, int elementBytes, Ceilings ceilings) {
    Sum sum = new Sum(ceilings, elementBytes, shape.model().activation());
    double h = shape.model().hiddenSize();
    Rows routed =
        new Rows(
            shape.tokens(),
            shape.moe().moeRouterTopk(),
            h,
            shape.expertHiddenSize(),
            shape.moe().numExperts());
    LayerFloor floor = of(sum, routed, backward);
    return shape.sharedHiddenSize() == 0
        ? floor
        : floor.plus(
            of(sum, new Rows(shape.tokens(), 1, h, shape.sharedHiddenSize(), 1), backward));
  }

  /** The dense layer of as many FLOPs. */
  static LayerFloor dense(BenchShape shape, boolean backward, int elementBytes, Ceilings ceilings) {
    Sum sum = new Sum(ceilings, elementBytes, shape.model().activation());
    double inner = shape.dense().ffnHiddenSize();
    Rows rows = new Rows(shape.tokens(), 1, shape.model().hiddenSize(), inner, 1);
    return of(sum, rows, backward);
  }

  private static LayerFloor of(Sum sum, Rows rows, boolean backward) {
    LayerFloor forward = sum.forward(rows, backward);
    return backward ? forward.plus(sum.backward(rows)) : forward;
  }
}
