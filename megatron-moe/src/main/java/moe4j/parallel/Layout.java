package moe4j.parallel;

import java.util.List;
import java.util.stream.IntStream;
import moe4j.config.Ranges;

/**
 * How a model and its data are divided among ranks, in Megatron's rank order: tensor-parallel ranks
 * are neighbours, then come the data-parallel ones. Experts divide the same ranks in another way:
 * the ranks that share an expert's matrices are neighbours, then come those of other experts, then
 * the copies.
 *
 * <pre>  rank = tp + TP dp = etp + ETP (ep + EP edp)</pre>
 *
 * Whatever the layout, each rank has a part of the global batch's tokens of its own:
 * tensor-parallel ranks have the same sequences, and each a TP-th of their tokens where experts
 * compute.
 *
 * @param world ranks in all
 * @param tensor TP, ranks that share the matrices of dense layers
 * @param expert EP, ranks that have different experts
 * @param expertTensor ETP, ranks that share an expert's matrices
 */
public record Layout(int world, int tensor, int expert, int expertTensor) {

  /** All on one rank. */
  public static final Layout SINGLE = new Layout(1, 1, 1, 1);

  /** Refuses sizes that are not positive or do not divide the ranks, with the arithmetic. */
  public Layout {
    Ranges.positive("tensor-model-parallel-size", tensor);
    Ranges.positive("expert-model-parallel-size", expert);
    Ranges.positive("expert-tensor-parallel-size", expertTensor);
    if (world % tensor != 0) {
      throw new IllegalArgumentException(
          "--tensor-model-parallel-size %d %s".formatted(tensor, refusal(world, tensor)));
    }
    int experts = expert * expertTensor;
    if (world % experts != 0) {
      throw new IllegalArgumentException(
          "--expert-model-parallel-size %d times --expert-tensor-parallel-size %d is %d, which %s"
              .formatted(expert, expertTensor, experts, refusal(world, experts)));
    }
  }

  private static String refusal(int world, int ranks) {
    return "does not divide the %d %s%s"
        .formatted(world, world == 1 ? "process" : "processes", Ranges.division(world, ranks));
  }

  /** DP: ranks that have different sequences and the same part of the dense layers. */
  public int data() {
    return world / tensor;
  }

  /** EDP: ranks that have the same part of the same experts. */
  public int expertData() {
    return world / (expert * expertTensor);
  }

  /** The ranks that share the matrices of dense layers with this one, in their order. */
  public List<Integer> tensorRanks(int rank) {
    int first = rank / tensor * tensor;
    return every(first, 1, tensor);
  }

  /** The ranks that have the same part of the dense layers, in their order. */
  public List<Integer> dataRanks(int rank) {
    return every(rank % tensor, tensor, data());
  }

  /** The ranks that share an expert's matrices with this one, in their order. */
  public List<Integer> expertTensorRanks(int rank) {
    return every(rank / expertTensor * expertTensor, 1, expertTensor);
  }

  /** The ranks that together have all experts, or the same part of each, in their order. */
  public List<Integer> expertRanks(int rank) {
    int block = expert * expertTensor;
    return every(rank / block * block + rank % expertTensor, expertTensor, expert);
  }

  /** All the ranks that hold one copy of the experts together, in their order. */
  public List<Integer> expertBlockRanks(int rank) {
    int block = expert * expertTensor;
    return every(rank / block * block, 1, block);
  }

  /** The ranks that have the same part of the same experts, in their order. */
  public List<Integer> expertDataRanks(int rank) {
    int block = expert * expertTensor;
    return every(rank % block, block, expertData());
  }

  private static List<Integer> every(int first, int stride, int count) {
    return IntStream.range(0, count).mapToObj(i -> first + i * stride).toList();
  }

  @Override
  public String toString() {
    return "TP%d DP%d EP%d ETP%d EDP%d"
        .formatted(tensor, data(), expert, expertTensor, expertData());
  }
}
