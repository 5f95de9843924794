package moe4j.parallel;

import java.util.Arrays;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * All ranks' rows on every rank, and the sums of what ranks have of each other's rows: {@link
 * Mappings#gather} and {@link Mappings#reduceScatter} where ranks have different numbers of rows,
 * perhaps none. Each is the other's gradient.
 */
public final class RowExchange {
  private RowExchange() {}

  /**
   * The ranks' rows, one rank's after the other's.
   *
   * @param x [rows[rank], ...]
   * @param rows of each rank, the same numbers on all
   * @return [sum of rows, ...]
   */
  public static Tensor gather(Tensor x, long[] rows, Group group) {
    return group.isAlone() ? x : new Gather(rows, group).apply(x)[0];
  }

  /**
   * Each rank's own rows, summed over all that the ranks have of them.
   *
   * @param x [sum of rows, ...]
   * @return [rows[rank], ...]
   */
  public static Tensor reduceScatter(Tensor x, long[] rows, Group group) {
    return group.isAlone() ? x : new ReduceScatter(rows, group).apply(x)[0];
  }

  private static boolean even(long[] rows) {
    return Arrays.stream(rows).allMatch(n -> n == rows[0]);
  }

  private static Tensor gathered(Tensor own, long[] rows, Group group) {
    Tensor x = own.contiguous();
    Tensor all = Tensors.emptyRows(x, Arrays.stream(rows).sum());
    if (even(rows)) {
      group.allGather(all, x).await();
      return all;
    }
    // What every rank is to have is sent to each.
    long[] copies = new long[x.shape().length];
    Arrays.fill(copies, 1);
    copies[0] = group.size();
    group.allToAll(all, x.repeat(copies), rows, same(x.size(0), group)).await();
    return all;
  }

  private static Tensor summed(Tensor all, long[] rows, Group group) {
    Tensor x = all.contiguous();
    long own = rows[group.rank()];
    if (even(rows)) {
      Tensor sum = Tensors.emptyRows(x, own);
      // What is reduced may be overwritten, and other functions may hold the gradient's tensor.
      group.reduceScatter(sum, x.clone()).await();
      return sum;
    }
    Tensor parts = Tensors.emptyRows(x, own * group.size());
    group.allToAll(parts, x, same(own, group), rows).await();
    Tensor sum = parts.narrow(0, 0, own).clone();
    for (int r = 1; r < group.size(); r++) {
      sum.add_(parts.narrow(0, r * own, own));
    }
    return sum;
  }

  private static long[] same(long rows, Group group) {
    long[] each = new long[group.size()];
    Arrays.fill(each, rows);
    return each;
  }

  private static final class Gather extends CustomFunction {
    private final long[] rows;
    private final Group group;

    Gather(long[] rows, Group group) {
      this.rows = rows.clone();
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {gathered(inputs[0], rows, group)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {summed(gradients[0], rows, group)};
    }
  }

  private static final class ReduceScatter extends CustomFunction {
    private final long[] rows;
    private final Group group;

    ReduceScatter(long[] rows, Group group) {
      this.rows = rows.clone();
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      return new Tensor[] {summed(inputs[0], rows, group)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {gathered(gradients[0], rows, group)};
    }
  }
}
