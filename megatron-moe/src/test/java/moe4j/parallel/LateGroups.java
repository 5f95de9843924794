package moe4j.parallel;

import java.util.ArrayDeque;
import java.util.Deque;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Groups whose calls do nothing before somebody waits for them: outputs are not numbers until then,
 * and inputs are read as late as that. So who reads too early, or lets go of something too early,
 * is found out.
 */
public final class LateGroups {
  private LateGroups() {}

  /** The same groups, late. */
  public static Groups of(Groups groups) {
    return new Groups(
        groups.layout(),
        groups.sequenceParallel(),
        late(groups.world()),
        late(groups.tensor()),
        late(groups.data()),
        late(groups.expert()),
        late(groups.expertTensor()),
        late(groups.expertBlock()),
        late(groups.expertData()));
  }

  private static Group late(Group group) {
    return group.isAlone() ? group : new Late(group);
  }

  @FunctionalInterface
  private interface Call {
    Group.Pending make(Tensor output, Tensor input);
  }

  private static final class Late implements Group {
    private final Group group;
    private final Deque<Runnable> calls = new ArrayDeque<>();

    Late(Group group) {
      this.group = group;
    }

    /** Waits for all calls up to this one: they are in the same order on every rank. */
    private Pending begin(Tensor output, Tensor input, Call call) {
      spoil(output);
      return beginInPlace(output, input, call);
    }

    private Pending beginInPlace(Tensor output, Tensor input, Call call) {
      Tensor heldOutput = Scopes.keep(() -> new Tensor(output));
      Tensor heldInput = Scopes.keep(() -> new Tensor(input));
      boolean[] done = new boolean[1];
      calls.add(
          () -> {
            call.make(heldOutput, heldInput).await();
            heldOutput.close();
            heldInput.close();
            done[0] = true;
          });
      return () -> {
        while (!done[0]) {
          calls.remove().run();
        }
      };
    }

    @Override
    public int rank() {
      return group.rank();
    }

    @Override
    public int size() {
      return group.size();
    }

    @Override
    public boolean isCapturable() {
      return group.isCapturable();
    }

    @Override
    public Pending allReduce(Tensor tensor, Reduction reduction) {
      return beginInPlace(tensor, tensor, (y, x) -> group.allReduce(y, reduction));
    }

    @Override
    public Pending allGather(Tensor output, Tensor input) {
      return begin(output, input, group::allGather);
    }

    @Override
    public Pending reduceScatter(Tensor output, Tensor input) {
      return begin(
          output,
          input,
          (y, x) -> {
            Pending pending = group.reduceScatter(y, x);
            return () -> {
              pending.await();
              spoil(x);
            };
          });
    }

    /** Has a tensor hold nothing of use. */
    private static void spoil(Tensor tensor) {
      try (NoGradGuard guard = new NoGradGuard()) {
        boolean real = tensor.is_floating_point();
        tensor.detach().fill_(real ? new Scalar(Double.NaN) : new Scalar(-12345));
      }
    }

    @Override
    public Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows) {
      return begin(output, input, (y, x) -> group.allToAll(y, x, outputRows, inputRows));
    }

    @Override
    public Pending broadcast(Tensor tensor, int root) {
      return beginInPlace(tensor, tensor, (y, x) -> group.broadcast(y, root));
    }
  }
}
