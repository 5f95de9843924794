package moe4j.parallel;

import java.util.List;
import java.util.function.Function;
import java.util.function.Supplier;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AllreduceOptions;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.BroadcastOptions;
import org.bytedeco.pytorch.LongVector;
import org.bytedeco.pytorch.ReduceOp;
import org.bytedeco.pytorch.ReduceOp.RedOpType;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Work;

/** A group of c10d's: Gloo or NCCL. Native failures become {@link RankLostException}s. */
final class C10dGroup implements Group {
  private final Backend backend;
  private final int rank;
  private final int size;
  private final boolean capturable;
  private final Function<RuntimeException, RankLostException> diagnosis;

  /**
   * @param backend of these ranks
   * @param capturable whether its calls can be captured
   * @param diagnosis finds out why a call failed
   */
  C10dGroup(
      Backend backend,
      int rank,
      int size,
      boolean capturable,
      Function<RuntimeException, RankLostException> diagnosis) {
    this.backend = backend;
    this.rank = rank;
    this.size = size;
    this.capturable = capturable;
    this.diagnosis = diagnosis;
  }

  @Override
  public int rank() {
    return rank;
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public boolean isCapturable() {
    return capturable;
  }

  @Override
  public Pending allReduce(Tensor tensor, Reduction reduction) {
    return begin(
        List.of(tensor),
        () -> {
          AllreduceOptions options = new AllreduceOptions();
          options.reduceOp(
              new ReduceOp(reduction == Reduction.SUM ? RedOpType.SUM : RedOpType.MAX));
          return backend.allreduce(new TensorVector(tensor), options);
        });
  }

  @Override
  public Pending allGather(Tensor output, Tensor input) {
    return begin(List.of(output, input), () -> backend._allgather_base(output, input));
  }

  @Override
  public Pending reduceScatter(Tensor output, Tensor input) {
    return begin(List.of(output, input), () -> backend._reduce_scatter_base(output, input));
  }

  @Override
  public Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows) {
    return begin(
        List.of(output, input),
        () ->
            backend.alltoall_base(
                output, input, new LongVector(outputRows), new LongVector(inputRows)));
  }

  @Override
  public Pending broadcast(Tensor tensor, int root) {
    return begin(
        List.of(tensor),
        () -> {
          BroadcastOptions options = new BroadcastOptions();
          options.rootRank(root);
          return backend.broadcast(new TensorVector(tensor), options);
        });
  }

  /** Begins a call, whose tensors and whose handle outlive the scope that they were made in. */
  private Pending begin(List<Tensor> tensors, Supplier<Work> call) {
    for (Tensor tensor : tensors) {
      if (!tensor.is_contiguous()) {
        throw new IllegalArgumentException(
            "only contiguous tensors can be communicated, but one of shape %s is not"
                .formatted(Tensors.shape(tensor)));
      }
    }
    Work work;
    try {
      work = Scopes.keep(call);
    } catch (RuntimeException e) {
      throw diagnosis.apply(e);
    }
    List<Tensor> held = tensors.stream().map(t -> Scopes.keep(() -> new Tensor(t))).toList();
    return new Pending() {
      private boolean ended;

      @Override
      public void await() {
        if (ended) {
          return;
        }
        ended = true;
        try (PointerScope scope = new PointerScope()) {
          work._wait();
        } catch (RuntimeException e) {
          throw diagnosis.apply(e);
        } finally {
          work.close();
          held.forEach(Tensor::close);
        }
      }
    };
  }
}
