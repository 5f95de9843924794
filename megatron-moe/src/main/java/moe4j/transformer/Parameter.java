package moe4j.transformer;

import java.util.ArrayList;
import java.util.List;
import moe4j.parallel.Shard;
import org.bytedeco.pytorch.Tensor;

/**
 * A trained tensor under its global name, or the part of it that this rank holds. Experts' weights
 * are stacked along the first dimension into one tensor; checkpoints know them one by one, under
 * {@code pieceNames}.
 *
 * @param name the global name, Megatron-Core's
 * @param tensor the leaf that the model computes with
 * @param decay whether weight decay applies: not to norms and biases
 * @param pieceNames the global names along the first dimension, or empty where there is one
 * @param shard which part it is of what the names name
 * @param globalShape the whole's shape; of one piece where there are several
 * @param partial whether the gradient here is a part of a sum over the tensor-parallel ranks, all
 *     of which hold the same parameter
 */
public record Parameter(
    String name,
    Tensor tensor,
    boolean decay,
    List<String> pieceNames,
    Shard shard,
    List<Long> globalShape,
    boolean partial) {

  /**
   * A tensor that is saved with the parameters and not trained. Every rank has all of it, or, if
   * its rows belong to a batch's samples, each data-parallel rank has the rows of its own samples.
   *
   * @param tensor what this rank holds
   * @param batched whether the first dimension is a batch's, of which each data-parallel rank has
   *     an n-th
   */
  public record Buffer(String name, Tensor tensor, boolean batched) {}

  /**
   * A box of a checkpoint's tensor that this rank holds.
   *
   * @param name the tensor's global name
   * @param globalShape its whole shape
   * @param offset where the box lies in it
   * @param shape the box's extent
   * @param start the box's first element among this rank's own, which are row-major
   */
  public record Piece(
      String name, List<Long> globalShape, List<Long> offset, List<Long> shape, long start) {

    /** Elements of the box. */
    public long volume() {
      return shape.stream().reduce(1L, (a, b) -> a * b);
    }

    /** The box as a view of a tensor of the parameter's shape: itself, a gradient, a moment. */
    public Tensor of(Tensor like) {
      long[] extent = shape.stream().mapToLong(Long::longValue).toArray();
      return like.view(-1).narrow(0, start, volume()).view(extent);
    }
  }

  /** Whether it belongs to routed experts, one of them or several; a shared expert is not one. */
  public boolean isOfExperts() {
    return !pieceNames.isEmpty() || name.contains(".local_experts.");
  }

  /** The boxes that this rank holds, in the order of its memory, which they fill. */
  public List<Piece> pieces() {
    long[] global = globalShape.stream().mapToLong(Long::longValue).toArray();
    List<String> names = pieceNames.isEmpty() ? List.of(name) : pieceNames;
    List<Piece> pieces = new ArrayList<>();
    long start = 0;
    for (String each : names) {
      for (Shard.Part part : shard.parts(global)) {
        Piece piece = new Piece(each, globalShape, list(part.offset()), list(part.shape()), start);
        pieces.add(piece);
        start += piece.volume();
      }
    }
    return pieces;
  }

  private static List<Long> list(long... values) {
    return java.util.Arrays.stream(values).boxed().toList();
  }
}
