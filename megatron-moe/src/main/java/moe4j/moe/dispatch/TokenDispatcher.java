package moe4j.moe.dispatch;

import java.util.ArrayList;
import java.util.List;
import moe4j.moe.gate.Routing;
import moe4j.parallel.Groups;
import org.bytedeco.pytorch.Tensor;

/**
 * Brings tokens to the experts and their outputs back. It does so in parts, so that experts compute
 * one while the next is under way, and other work fits between: on one rank nothing moves, and
 * there is one part.
 */
@FunctionalInterface
public interface TokenDispatcher {

  /** How tokens get to other ranks' experts. */
  enum Kind {
    /** Each row goes to its expert's rank: Megatron's {@code alltoall}. */
    ALL_TO_ALL,
    /** All tokens go to all ranks: Megatron's {@code allgather}. */
    ALL_GATHER
  }

  /**
   * Tokens under way, and then their experts' outputs. Parts arrive and are given back in order,
   * each before the next arrives.
   */
  interface Dispatch {
    /** How many parts there are, at least one. */
    int parts();

    /**
     * Whether all tokens stay here, in one part, so that {@link #finish} gives the sums as they
     * were given back. The layer then has the experts add a shared expert's output to these.
     */
    default boolean staysHere() {
      return false;
    }

    /** Waits for a part. Each of its rows is for one expert. */
    Dispatched arrive(int part);

    /**
     * Begins to bring a part's outputs back.
     *
     * @param sums the experts' outputs, weighted and added up by the part's tokens ({@link
     *     Dispatched#sum}): [T, ...] each
     */
    void giveBack(int part, List<Tensor> sums);

    /** Waits for all parts' outputs and adds them up by token: [T, ...] each. */
    List<Tensor> finish();
  }

  /**
   * Begins to bring tokens to the experts.
   *
   * @param inputs [T, ...] each, the hidden state, [T, h], before others
   * @param routing of these tokens
   */
  Dispatch dispatch(List<Tensor> inputs, Routing routing);

  /** The dispatcher of a layer all of whose experts are on this rank. */
  static TokenDispatcher local() {
    return Local::new;
  }

  /**
   * The dispatcher of a layer whose experts are shared out among the ranks of {@link
   * Groups#expertBlock}; with one such rank, {@link #local}.
   *
   * @param overlap in how many parts rows go to their experts, by the distance of their ranks
   *     (FasterMoE, He et al. 2022)
   * @param experts E, in total
   * @throws IllegalArgumentException where there cannot be so many parts
   */
  static TokenDispatcher of(Kind kind, int overlap, int experts, Groups groups) {
    int ranks = groups.expert().size();
    if (overlap < 1 || overlap > ranks) {
      throw new IllegalArgumentException(
          "--moe-a2a-overlap-degree %d is not between 1 and --expert-model-parallel-size %d"
              .formatted(overlap, ranks));
    }
    if (groups.expertBlock().isAlone()) {
      return local();
    }
    return kind == Kind.ALL_TO_ALL
        ? new AllToAll(groups, experts, overlap)
        : new AllGather(groups, experts);
  }

  /** Tokens that stay on their rank. */
  final class Local implements Dispatch {
    private final Dispatched dispatched;
    private final List<Tensor> outputs = new ArrayList<>();

    private Local(List<Tensor> inputs, Routing routing) {
      this.dispatched = new Dispatched(inputs, routing);
    }

    @Override
    public int parts() {
      return 1;
    }

    @Override
    public boolean staysHere() {
      return true;
    }

    @Override
    public Dispatched arrive(int part) {
      return dispatched;
    }

    @Override
    public void giveBack(int part, List<Tensor> sums) {
      outputs.addAll(sums);
    }

    @Override
    public List<Tensor> finish() {
      return outputs;
    }
  }
}
