package moe4j.optimizer;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import moe4j.parallel.Group;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Tensor;

/**
 * Gradients that are summed over ranks at once: all of them on every rank, or, where the optimizer
 * is distributed, each rank's part on that rank; the parameters that it then updates are gathered.
 * Parts are views of the whole, so nothing is copied.
 */
final class GradientBucket implements AutoCloseable {
  private final Group group;
  private final FlatLayout.Bucket layout;
  private final boolean distributed;
  private final Tensor gradients;
  private final Tensor ownGradients;
  private final Tensor values;
  private final Tensor ownValues;
  private final Set<Integer> arrived = new HashSet<>();
  private final List<Tensor> owned = new ArrayList<>();
  private Group.Pending pending = Group.Pending.NONE;

  /**
   * A bucket of flat memories.
   *
   * @param group over which it is summed
   * @param gradients of the whole memory
   * @param values the parameters' memory, in the same layout, or null where the optimizer is not
   *     distributed
   */
  GradientBucket(Group group, FlatLayout.Bucket layout, Tensor gradients, Tensor values) {
    this.group = group;
    this.layout = layout;
    this.distributed = values != null;
    this.gradients = view(gradients, layout.start(), layout.size());
    this.ownGradients = distributed ? view(gradients, ownStart(), ownSize()) : null;
    this.values = distributed ? view(values, layout.start(), layout.size()) : null;
    this.ownValues = distributed ? view(values, ownStart(), ownSize()) : null;
  }

  private Tensor view(Tensor memory, long start, long size) {
    Tensor view = Scopes.keep(() -> memory.narrow(0, start, size));
    owned.add(view);
    return view;
  }

  /** Where this rank's part begins in the memory. */
  long ownStart() {
    return layout.start() + (distributed ? group.rank() * ownSize() : 0);
  }

  /** Elements of this rank's part. */
  long ownSize() {
    return distributed ? layout.size() / group.size() : layout.size();
  }

  /** The places of its gradients in the memory. */
  FlatLayout.Bucket layout() {
    return layout;
  }

  /** Is called before a backward: none of the bucket's gradients has arrived yet. */
  void expect() {
    arrived.clear();
    pending = Group.Pending.NONE;
  }

  /** Notes that a parameter's gradient has arrived. */
  void arrive(int parameter) {
    arrived.add(parameter);
  }

  /** Whether all of the bucket's gradients have arrived. */
  boolean isComplete() {
    return arrived.size() == layout.places().size();
  }

  /** Adds this rank's own gradients up: a number where all of them are. */
  void addTo(Tensor sum) {
    sum.add_(gradients.sum());
  }

  /** Begins to sum over the ranks. */
  void begin() {
    if (!group.isAlone()) {
      pending =
          distributed
              ? group.reduceScatter(ownGradients, gradients)
              : group.allReduce(gradients, Group.Reduction.SUM);
    }
  }

  /** Waits for what was begun. */
  void await() {
    Group.Pending begun = pending;
    pending = Group.Pending.NONE;
    begun.await();
  }

  /** Begins to gather the ranks' parameters. */
  void beginGather() {
    if (!group.isAlone()) {
      pending = group.allGather(values, ownValues);
    }
  }

  @Override
  public void close() {
    owned.forEach(Tensor::close);
  }
}
