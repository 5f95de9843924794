package moe4j.parallel;

import moe4j.parallel.Group.Reduction;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * Communication as a part of a model. Each mapping and its gradient are each other's counterpart
 * (Shoeybi et al. 2019, Korthikanti et al. 2022): where ranks hold copies of a tensor, each has the
 * whole gradient of it; where each has a part of the tokens, it has the gradient of that. With one
 * rank all are the identity.
 *
 * <p>Of a tensor [B, S, ...] an n-th are a rank's tokens, in their order: those of some sequences
 * or a part of one's. What a rank holds is contiguous among all, so nothing is put in another order
 * on its way. They are shaped [B, S/n, ...], for what they come to.
 */
public final class Mappings {
  private Mappings() {}

  /** Into a region where each rank has a part of a matrix: x as it is, gradients are summed. */
  public static Tensor copy(Tensor x, Group group) {
    return group.isAlone() ? x : new Copy(group).apply(x)[0];
  }

  /**
   * Out of such a region: the ranks' parts of a sum are summed, gradients stay as they are.
   *
   * @param x overwritten by the sum; nothing else may need it
   */
  public static Tensor reduce(Tensor x, Group group) {
    return group.isAlone() ? x : new Reduce(group).apply(x)[0];
  }

  /** {@link #copy} where ranks have parts of the tokens: [B, S/n, ...] to [B, S, ...]. */
  public static Tensor gather(Tensor x, Group group) {
    return group.isAlone() ? x : new Gather(group, true).apply(x)[0];
  }

  /** {@link #reduce} where ranks get parts of the tokens: [B, S, ...] to [B, S/n, ...]. */
  public static Tensor reduceScatter(Tensor x, Group group) {
    return group.isAlone() ? x : new ReduceScatter(group).apply(x)[0];
  }

  /** Each rank's part of the tokens of a tensor that all have: [B, S, ...] to [B, S/n, ...]. */
  public static Tensor scatter(Tensor x, Group group) {
    return group.isAlone() ? x : new Scatter(group).apply(x)[0];
  }

  /** Back from {@link #scatter}: [B, S/n, ...] to [B, S, ...], which all ranks go on with alike. */
  public static Tensor unite(Tensor x, Group group) {
    return group.isAlone() ? x : new Gather(group, false).apply(x)[0];
  }

  /** Something that is on its way. */
  public interface Later {
    /** Waits for it. */
    Tensor get();
  }

  /** All tokens of the ranks' parts, without a gradient: [B, S/n, ...] to [B, S, ...]. */
  public static Tensor gathered(Tensor x, Group group) {
    return gatheredLater(x, group).get();
  }

  /** Begins with {@link #gathered}. */
  public static Later gatheredLater(Tensor x, Group group) {
    int n = group.size();
    long[] shape = x.shape();
    Tensor parts = Tensors.empty(Tensors.dtype(x), x.device(), with(shape, 0, n * shape[0]));
    Group.Pending pending = group.allGather(parts, x.contiguous());
    return () -> {
      pending.await();
      return parts.view(with(shape, 1, n * shape[1]));
    };
  }

  /** The sum of the ranks' tokens, of which each gets its part; without a gradient. */
  static Tensor scattered(Tensor x, Group group) {
    return scatteredLater(x, group).get();
  }

  /**
   * Begins to sum the ranks' tokens, of which each gets its part: [B, S, ...] to [B, S/n, ...];
   * without a gradient.
   */
  public static Later scatteredLater(Tensor x, Group group) {
    int n = group.size();
    long[] shape = x.shape();
    long[] part = with(shape, 1, shape[1] / n);
    Tensor sum = Tensors.empty(Tensors.dtype(x), x.device(), part);
    Tensor parts = x.contiguous().view(with(part, 0, n * part[0]));
    Group.Pending pending = group.reduceScatter(sum, parts);
    return () -> {
      pending.await();
      return sum;
    };
  }

  /** This rank's tokens of all, without a gradient: a view. */
  public static Tensor own(Tensor x, Group group) {
    long[] part = with(x.shape(), 1, x.size(1) / group.size());
    Tensor parts = x.contiguous().view(with(part, 0, group.size() * part[0]));
    return parts.narrow(0, group.rank() * part[0], part[0]);
  }

  private static long[] with(long[] shape, int dim, long size) {
    long[] changed = shape.clone();
    changed[dim] = size;
    return changed;
  }

  private static void divisible(Tensor x, Group group) {
    if (x.dim() < 2 || x.size(1) % group.size() != 0) {
      throw new IllegalArgumentException(
          "the sequences of a tensor of shape %s cannot be cut into %d equal parts"
              .formatted(Tensors.shape(x), group.size()));
    }
  }

  /** The sum in memory of its own: other functions may hold the gradient's tensor as well. */
  private static Tensor sum(Tensor x, Group group) {
    Tensor sum = x.clone();
    group.allReduce(sum, Reduction.SUM).await();
    return sum;
  }

  private static final class Copy extends CustomFunction {
    private final Group group;

    Copy(Group group) {
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {inputs[0].detach()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {sum(gradients[0], group)};
    }
  }

  private static final class Reduce extends CustomFunction {
    private final Group group;

    Reduce(Group group) {
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor sum = inputs[0].is_contiguous() ? inputs[0].detach() : inputs[0].contiguous();
      group.allReduce(sum, Reduction.SUM).await();
      return new Tensor[] {sum};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {gradients[0].detach()};
    }
  }

  private static final class Gather extends CustomFunction {
    private final Group group;
    private final boolean partial;

    /**
     * @param partial whether a rank's gradient of the whole is a part of a sum, and not all of it
     */
    Gather(Group group, boolean partial) {
      this.group = group;
      this.partial = partial;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {gathered(inputs[0], group)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {partial ? scattered(gradients[0], group) : own(gradients[0], group)};
    }
  }

  private static final class ReduceScatter extends CustomFunction {
    private final Group group;

    ReduceScatter(Group group) {
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      divisible(inputs[0], group);
      return new Tensor[] {scattered(inputs[0], group)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {gathered(gradients[0], group)};
    }
  }

  private static final class Scatter extends CustomFunction {
    private final Group group;

    Scatter(Group group) {
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      divisible(inputs[0], group);
      return new Tensor[] {own(inputs[0], group).detach()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {gathered(gradients[0], group)};
    }
  }
}
