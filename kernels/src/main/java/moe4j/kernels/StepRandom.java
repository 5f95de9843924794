package moe4j.kernels;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The random numbers of one micro-batch. A draw is a function of the seed, the step, the layer, the
 * operation and the element's global index (its sample's place in the global batch comes first), so
 * it does not depend on how a batch is cut into micro-batches, nor on what was drawn before it;
 * libtorch's generator has no part in a step.
 *
 * @param seed the run's seed
 * @param step the step, from 0
 * @param firstSample the place in the global batch of the micro-batch's first sample
 * @param samples the micro-batch's samples
 */
public record StepRandom(long seed, long step, long firstSample, long samples) {

  /**
   * Uniform numbers in [0, 1), fp32, on {@code like}'s device.
   *
   * @param like gives the shape; its elements are the samples' in order, the same number for each
   * @param layer the layer's global number, below 2^16
   * @param operation which of the layer's draws, below 2^16
   */
  public Tensor uniform(Tensor like, int layer, int operation) {
    long size = like.numel();
    if (size % samples != 0 || layer >>> 16 != 0 || operation >>> 16 != 0) {
      throw new IllegalArgumentException(
          "%d random numbers for %d samples, layer %d, operation %d"
              .formatted(size, samples, layer, operation));
    }
    Tensor host = torch.empty(like.shape());
    long stream = (step & 0xffffffffL) | ((long) layer << 32) | ((long) operation << 48);
    Philox.uniform(host, seed, stream, size / samples * firstSample);
    return host.to(like.device(), ScalarType.Float);
  }

  /**
   * Inverted dropout: zeroes each element with probability {@code p} and divides the rest by 1 - p.
   *
   * @param x any shape, the samples' elements in order
   */
  public Tensor dropout(Tensor x, double p, int layer, int operation) {
    if (p == 0) {
      return x;
    }
    Tensor keep = uniform(x, layer, operation).ge(new Scalar(p)).to(Tensors.dtype(x));
    return x.mul(keep.mul_(new Scalar(1 / (1 - p))));
  }
}
