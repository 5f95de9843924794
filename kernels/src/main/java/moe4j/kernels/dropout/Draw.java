package moe4j.kernels.dropout;

import moe4j.kernels.cuda.Launch;
import moe4j.tensor.Philox;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Tensors of random numbers, the same on every device. On a GPU our kernel draws them even where
 * our kernels are turned off: no operation of libtorch's reads a {@link StepRandom}'s position
 * there without waiting for it.
 */
public final class Draw {
  private Draw() {}

  /**
   * Uniform numbers in [0, 1), fp32, on {@code like}'s device.
   *
   * @param random the key of the numbers
   * @param like gives the shape; its elements are those {@code random} is for, in order
   * @param layer the layer's global number, below 2^16
   * @param operation which of the layer's draws, below 2^16
   */
  public static Tensor uniform(StepRandom random, Tensor like, int layer, int operation) {
    if (like.is_cuda()) {
      return launch(new Dropout(random, 0, layer, operation), like);
    }
    StepRandom.Runs runs = random.runs(like, layer, operation);
    if (random.position() != null) {
      throw new IllegalStateException(
          "These random numbers' position is on a GPU: they cannot be drawn for a tensor on the CPU.");
    }
    Tensor host = torch.empty(like.shape());
    long stream = (random.step() & 0xffffffffL) | ((long) layer << 32) | ((long) operation << 48);
    long first = runs.stride() * random.firstSample() + runs.offset();
    Philox.uniform(host, random.seed(), stream, first, runs.length(), runs.stride());
    return host;
  }

  /**
   * Numbers from N(0, 1), fp32, on {@code like}'s device: the uniform ones through the inverse of
   * the normal distribution.
   *
   * @param like as for {@link #uniform}
   */
  public static Tensor normal(StepRandom random, Tensor like, int layer, int operation) {
    // Uniform numbers are multiples of 2^-24, and half of that keeps both ends finite. Near 1 fp32
    // cannot hold that sum: 2 u - 1 + 2^-24 is exact, and odd about 0.
    Tensor uniform = uniform(random, like, layer, operation);
    Tensor open = uniform.mul_(new Scalar(2)).sub_(new Scalar(1));
    return open.add_(new Scalar(0x1p-24)).erfinv_().mul_(new Scalar(Math.sqrt(2)));
  }

  private static Tensor launch(Dropout of, Tensor like) {
    Dropout.Draws draws = of.draws(like);
    Tensor out = Tensors.empty(ScalarType.Float, like.device(), like.shape());
    Launch.kernel(
            Dropout.SOURCE,
            "uniform_draws",
            ScalarType.Float,
            "ALIGNED=" + (draws.inBlocks() ? 1 : 0),
            draws.define())
        .launch(
            Dropout.blocks(out),
            256,
            0,
            out,
            out.numel(),
            of.seed(),
            draws.position(),
            draws.run(),
            draws.stride(),
            draws.offset(),
            of.layer(),
            of.operation());
    return out;
  }
}
