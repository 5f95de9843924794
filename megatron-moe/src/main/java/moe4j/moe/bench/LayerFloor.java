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
   * @param rows what its experts compute: T k where none is dropped
   * @param hidden h
   * @param inner f
   * @param experts E
   */
  private record Rows(double tokens, double rows, double hidden, double inner, double experts) {}

  /** Adds up for one type of numbers on one device. */
  private record Sum(Ceilings ceilings, int elementBytes, Activation activation) {

    LayerFloor product(double flops, double elements) {
      double bytes = elements * elementBytes;
      double floor = ceilings.floor(new Cost(Math.round(bytes), flops));
      return new LayerFloor(flops, bytes, floor);
    }

    LayerFloor forward(Rows r, boolean keeps) {
      double rows = r.rows;
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
      double rows = r.rows;
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
      return r.experts == 1 ? NOTHING : product(0, (r.rows + r.tokens) * r.hidden);
    }
  }

  private LayerFloor plus(LayerFloor other) {
    return new LayerFloor(flops + other.flops, bytes + other.bytes, seconds + other.seconds);
  }

  /**
   * A layer with experts that drops nothing, the shared one among them.
   *
   * @param backward whether with the backward, for which the forward keeps what it computes
   */
  static LayerFloor experts(
      BenchShape shape, boolean backward, int elementBytes, Ceilings ceilings) {
    return experts(shape, shape.routes(), backward, elementBytes, ceilings);
  }

  /**
   * The same of a layer whose gate has dropped some routes, or filled experts up.
   *
   * @param rows what its experts compute, the shared one's left out
   */
  static LayerFloor experts(
      BenchShape shape, long rows, boolean backward, int elementBytes, Ceilings ceilings) {
    Sum sum = new Sum(ceilings, elementBytes, shape.model().activation());
    double h = shape.model().hiddenSize();
    Rows routed =
        new Rows(shape.tokens(), rows, h, shape.expertHiddenSize(), shape.moe().numExperts());
    LayerFloor floor = of(sum, routed, backward);
    return shape.sharedHiddenSize() == 0
        ? floor
        : floor.plus(of(sum, one(shape, shape.sharedHiddenSize()), backward));
  }

  /** The dense layer of as many FLOPs. */
  static LayerFloor dense(BenchShape shape, boolean backward, int elementBytes, Ceilings ceilings) {
    Sum sum = new Sum(ceilings, elementBytes, shape.model().activation());
    return of(sum, one(shape, shape.dense().ffnHiddenSize()), backward);
  }

  /** A layer that every token goes through. */
  private static Rows one(BenchShape shape, int inner) {
    return new Rows(shape.tokens(), shape.tokens(), shape.model().hiddenSize(), inner, 1);
  }

  private static LayerFloor of(Sum sum, Rows rows, boolean backward) {
    LayerFloor forward = sum.forward(rows, backward);
    return backward ? forward.plus(sum.backward(rows)) : forward;
  }
}
