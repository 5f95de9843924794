package moe4j.kernels.activation;

import moe4j.kernels.cuda.Launch;
import moe4j.kernels.cuda.Tiles;
import moe4j.kernels.product.ColumnSum;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/** An activation of {@code activation.cu}: y of x and a bias, which may be null. */
final class ActivationKernel extends CustomFunction {
  private static final String SOURCE = "activation/activation.cu";

  private final String name;
  private final int inputs;
  private Tensor x;
  private Tensor bias;

  /**
   * @param name what the kernels' names begin with, before {@code _forward} and {@code _backward}
   * @param inputs how many channels of x make one of y
   */
  ActivationKernel(String name, int inputs) {
    this.name = name;
    this.inputs = inputs;
  }

  @Override
  protected Tensor[] forward(Tensor[] in) {
    x = save(in[0].contiguous());
    bias = in[1] == null ? null : save(in[1].contiguous());
    long[] shape = x.shape();
    int last = shape.length - 1;
    if (shape[last] % inputs != 0 || (bias != null && bias.numel() != shape[last])) {
      throw new IllegalArgumentException(
          "%s takes rows of a multiple of %d channels and a bias of as many, not %s and %s."
              .formatted(
                  name, inputs, Tensors.shape(x), bias == null ? "no bias" : Tensors.shape(bias)));
    }
    Launch.sameType(x, bias);
    shape[last] /= inputs;
    Tensor y = Tensors.empty(Tensors.dtype(x), x.device(), shape);
    Tiles tiles = tiles(y);
    Launch.kernel(SOURCE, name + "_forward", Tensors.dtype(x), tiles.define())
        .launch(
            tiles.blocks(), tiles.threads(), 0, x, bias, y, rows(), width(), tiles.columnBlocks());
    return new Tensor[] {y};
  }

  @Override
  protected Tensor[] backward(Tensor[] gradients) {
    Tensor dx = Launch.empty(x);
    Tiles tiles = tiles(gradients[0]);
    boolean sums = needsGradient(1);
    Tensor partials = sums ? ColumnSum.partials(x, tiles.chunks(), (long) inputs * width()) : null;
    Launch.kernel(SOURCE, name + "_backward", Tensors.dtype(x), tiles.define())
        .launch(
            tiles.blocks(),
            tiles.threads(),
            0,
            gradients[0],
            x,
            bias,
            dx,
            partials,
            rows(),
            width(),
            tiles.columnBlocks());
    return new Tensor[] {
      needsGradient(0) ? dx : null, sums ? ColumnSum.finish(partials, Tensors.dtype(x)) : null
    };
  }

  private int width() {
    return Math.toIntExact(x.size(-1) / inputs);
  }

  private long rows() {
    return x.numel() / Math.max(1, x.size(-1));
  }

  private Tiles tiles(Tensor other) {
    return Tiles.over(rows(), width(), width() % 8 == 0 && Launch.aligned(x, bias, other));
  }
}
