package moe4j.parallel;

import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/** A group of one rank, in which nothing is communicated. */
final class SingleRank implements Group {
  static final Group GROUP = new SingleRank();

  private SingleRank() {}

  @Override
  public int rank() {
    return 0;
  }

  @Override
  public int size() {
    return 1;
  }

  @Override
  public boolean isCapturable() {
    return true;
  }

  @Override
  public Pending allReduce(Tensor tensor, Reduction reduction) {
    return Pending.NONE;
  }

  @Override
  public Pending allGather(Tensor output, Tensor input) {
    return copy(output, input);
  }

  @Override
  public Pending reduceScatter(Tensor output, Tensor input) {
    return copy(output, input);
  }

  @Override
  public Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows) {
    return copy(output, input);
  }

  @Override
  public Pending broadcast(Tensor tensor, int root) {
    return Pending.NONE;
  }

  private static Pending copy(Tensor output, Tensor input) {
    try (NoGradGuard guard = new NoGradGuard()) {
      output.copy_(input);
    }
    return Pending.NONE;
  }
}
