package moe4j.transformer;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Tensor;

/**
 * A trained tensor under its global name. Experts' weights are stacked along the first dimension
 * into one tensor; checkpoints know them one by one, under {@link #pieces()}' names.
 *
 * @param name the global name, Megatron-Core's
 * @param tensor the leaf that the model computes with
 * @param decay whether weight decay applies: not to norms and biases
 * @param pieceNames the global names along the first dimension, or empty where there is one
 */
public record Parameter(String name, Tensor tensor, boolean decay, List<String> pieceNames) {

  /** A tensor of a checkpoint: a view of a parameter or of its state. */
  public record Piece(String name, Tensor tensor) {}

  /** Whether it is of experts that a token may go to or not, one of them or several. */
  public boolean isOfExperts() {
    return !pieceNames.isEmpty() || name.contains(".local_experts.");
  }

  /** This parameter as checkpoints know it. */
  public List<Piece> pieces() {
    return pieces(tensor);
  }

  /** A tensor of this parameter's shape (a gradient, a moment) as checkpoints know it. */
  public List<Piece> pieces(Tensor like) {
    if (pieceNames.isEmpty()) {
      return List.of(new Piece(name, like));
    }
    List<Piece> pieces = new ArrayList<>();
    for (int i = 0; i < pieceNames.size(); i++) {
      pieces.add(new Piece(pieceNames.get(i), like.select(0, i)));
    }
    return pieces;
  }
}
