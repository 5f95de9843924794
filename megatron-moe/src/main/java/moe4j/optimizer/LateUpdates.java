package moe4j.optimizer;

import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.SideStream;
import moe4j.transformer.Parameter;
import org.bytedeco.pytorch.Tensor;

/**
 * The updates of weights that are made behind the next step's forward, each before the layer that
 * computes with the weight, and all of them before the backward, which writes gradients again. What
 * an update is made of (clip factor, learning rate, step counter) is known and fixed by then: the
 * bits are those of an update at the step's end.
 *
 * <p>Until they are made they are <i>pending</i>, and whoever else reads the weights or their state
 * has them {@link #complete made} first. A captured forward makes them beside itself, on a stream
 * and on multiprocessors of their own; replayed with nothing pending it finds on the device that
 * there is nothing to do.
 */
public final class LateUpdates implements AutoCloseable {
  /**
   * The multiprocessors of a GPU's hundred that a captured forward leaves to the updates. Each moves
   * 70 GB/s, a fiftieth of what the memory gives, and the forward takes nearly 1% longer for each
   * hundredth.
   */
  private static final int SHARE = 24;

  /** Makes them. */
  interface Work {
    /**
     * Makes the update of a weight.
     *
     * @param blocks how many blocks of a kernel are to take turns; 0 for as many as there is work
     */
    void update(int number, int blocks);

    /** Is called when all are made. */
    void end();

    /** Frees what it has of its own. */
    default void close() {}
  }

  private final Map<Tensor, Integer> numbers = new IdentityHashMap<>();
  private final Work work;
  private final Runnable forget;
  private SideStream beside;
  private boolean forked;
  private boolean pending;

  /** Of those that are pending, how many are made. */
  private int made;

  /**
   * None pending yet.
   *
   * @param weights in the order in which the forward comes to them
   * @param forget lets go of gradients that no captured graph writes again
   */
  LateUpdates(List<Tensor> weights, Work work, Runnable forget) {
    weights.forEach(weight -> numbers.put(weight, numbers.size()));
    this.work = work;
    this.forget = forget;
  }

  /** Nothing is updated late. */
  static LateUpdates none() {
    return new LateUpdates(List.of(), null, () -> {});
  }

  /** Whether anything is updated late. */
  public boolean isAny() {
    return !numbers.isEmpty();
  }

  /**
   * The late updates of an optimizer.
   *
   * @param states in the order in which the forward comes to their parameters
   * @param awaited whether a parameter's layer calls {@link #beforeUse}
   * @param work is given the numbers of the states that are updated late: the forward comes to the
   *     first third of those that may be before so few multiprocessors could have updated them
   */
  static LateUpdates of(
      List<OptimizerState> states,
      Predicate<Parameter> awaited,
      Function<List<Integer>, Work> work,
      Runnable forget) {
    List<Integer> all =
        IntStream.range(0, states.size())
            .filter(i -> awaited.test(states.get(i).parameter()))
            .boxed()
            .toList();
    if (all.isEmpty()) {
      throw new IllegalStateException("No layer announces the weights that it computes with.");
    }
    List<Integer> which = all.subList(all.size() / 3, all.size());
    return new LateUpdates(
        which.stream().map(i -> states.get(i).parameter().tensor()).toList(),
        work.apply(which),
        forget);
  }

  /** An even number: blocks of some kernels come in pairs. */
  private static int blocks() {
    return Math.max(2, Cuda.multiprocessors() * SHARE / 200 * 2);
  }

  /** A step is decided on, by a captured graph or not: its updates are still to be made. */
  public void pend() {
    if (pending) {
      throw new IllegalStateException("A step was taken before the updates of the last were made.");
    }
    pending = isAny();
  }

  /** Whether a weight is one of them. */
  boolean isLate(Tensor weight) {
    return numbers.containsKey(weight);
  }

  /** Whether a step's updates are still to be made. */
  boolean isPending() {
    return pending;
  }

  /** A graph was replayed whose forward has made them. */
  public void replayed() {
    pending = false;
  }

  /** The forward begins. */
  public void beginForward() {
    if (!isAny() || !CudaGraph.isCapturing()) {
      return;
    }
    if (beside == null) {
      beside = new SideStream(numbers.size(), -1);
    }
    beside.fork();
    forked = true;
    for (int i = 0; i < numbers.size(); i++) {
      int number = i;
      beside.run(number, () -> work.update(number, blocks()));
    }
    Cuda.reserve(blocks());
  }

  /** A layer is about to compute with a weight. */
  public void beforeUse(Tensor weight) {
    Integer number = numbers.get(weight);
    if (number == null) {
      return;
    }
    if (forked) {
      await(number);
    } else {
      makeUpTo(number + 1);
    }
  }

  private void await(int number) {
    beside.await(number);
    if (number == numbers.size() - 1) {
      // All are made: whatever follows has the whole GPU again.
      Cuda.reserve(0);
    }
  }

  private void makeUpTo(int end) {
    while (pending && made < end) {
      work.update(made++, 0);
    }
  }

  /** The forward is done: nothing may be left to make, and the gradients were needed until now. */
  public void endForward() {
    if (forked) {
      await(numbers.size() - 1);
      forked = false;
      work.end();
    } else {
      complete();
    }
    forget.run();
  }

  /** Makes all that are pending. */
  public void complete() {
    if (pending) {
      makeUpTo(numbers.size());
      work.end();
      pending = false;
      made = 0;
    }
  }

  /** A forward was captured in part: it is not to be replayed. */
  void abandon() {
    if (forked) {
      forked = false;
      Cuda.reserve(0);
    }
  }

  @Override
  public void close() {
    if (work != null) {
      work.close();
    }
    if (beside != null) {
      beside.close();
    }
  }
}
