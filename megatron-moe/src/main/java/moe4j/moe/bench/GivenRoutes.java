package moe4j.moe.bench;

import java.util.SplittableRandom;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A gate that gives choices which were drawn beforehand: for each token k experts, any with the
 * same chance, so that loads vary as those of a balanced router do. The routes are sorted each
 * time, as a router's are.
 */
final class GivenRoutes implements Gate, AutoCloseable {
  /** The least of the k weights of a token, before they are made to add up to 1. */
  private static final double LEAST_WEIGHT = 0.25;

  private final int experts;
  private final Tensor choices;
  private final Tensor weights;

  /**
   * Draws choices and weights.
   *
   * @param seed for the same ones each time
   */
  GivenRoutes(long tokens, int experts, int topk, long seed, Device device) {
    this.experts = experts;
    SplittableRandom random = new SplittableRandom(seed);
    long[] chosen = new long[Math.toIntExact(tokens * topk)];
    float[] weight = new float[chosen.length];
    for (int at = 0; at < chosen.length; at += topk) {
      draw(random, chosen, at, topk);
      double sum = 0;
      for (int i = at; i < at + topk; i++) {
        weight[i] = (float) (LEAST_WEIGHT + random.nextDouble());
        sum += weight[i];
      }
      for (int i = at; i < at + topk; i++) {
        weight[i] /= (float) sum;
      }
    }
    long[] shape = {tokens, topk};
    this.choices = Scopes.keep(() -> Tensors.of(chosen, shape).to(device, ScalarType.Long));
    this.weights =
        Scopes.keep(
            () -> Tensors.of(weight, shape).to(device, ScalarType.Float).set_requires_grad(true));
  }

  /** So many different experts: Floyd's algorithm, in a random order. */
  private void draw(SplittableRandom random, long[] chosen, int at, int topk) {
    for (int i = 0; i < topk; i++) {
      int last = experts - topk + i;
      long candidate = random.nextInt(last + 1);
      for (int j = at; j < at + i; j++) {
        if (chosen[j] == candidate) {
          candidate = last;
          break;
        }
      }
      int place = at + random.nextInt(i + 1);
      chosen[at + i] = chosen[place];
      chosen[place] = candidate;
    }
  }

  /** The experts of each token: int64 [T, k]. */
  Tensor choices() {
    return choices;
  }

  /** What they count in the token: fp32 [T, k], which gets a gradient. */
  Tensor weights() {
    return weights;
  }

  @Override
  public Routing route(Tensor hidden, Pass pass) {
    return Routing.ofChoices(choices, weights, experts);
  }

  @Override
  public void close() {
    choices.close();
    weights.close();
  }
}
