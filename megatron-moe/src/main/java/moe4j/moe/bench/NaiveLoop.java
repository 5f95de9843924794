package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Activation;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorIndex;
import org.bytedeco.pytorch.TensorIndexVector;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Experts as they are usually written first: a parameter for each, and a loop that looks up an
 * expert's tokens, computes it on them, and adds the result to the output.
 */
final class NaiveLoop implements AutoCloseable {
  private final List<PlainMlp> experts = new ArrayList<>();
  private final List<Tensor> leaves = new ArrayList<>();
  private final double dropout;

  /** Experts whose parameters share the memory of stacked weights. */
  NaiveLoop(LayerWeights weights, Activation activation, double dropout) {
    this.dropout = dropout;
    for (long e = 0; e < weights.fc1().size(0); e++) {
      long number = e;
      experts.add(new PlainMlp(weights.map(stacked -> leaf(stacked, number)), activation));
    }
  }

  private Tensor leaf(Tensor stacked, long expert) {
    Tensor own = Scopes.keep(() -> stacked.select(0, expert).detach().requires_grad_(true));
    leaves.add(own);
    return own;
  }

  /** The experts' parameters. */
  List<Tensor> leaves() {
    return List.copyOf(leaves);
  }

  /**
   * Computes the layer. The GPU is asked for each expert's tokens.
   *
   * @param hidden [T, h]
   * @param choices int64 [T, k]
   * @param weights fp32 [T, k]
   * @param training whether values are dropped
   */
  Tensor forward(Tensor hidden, Tensor choices, Tensor weights, boolean training) {
    Tensor output = torch.zeros_like(hidden);
    for (int e = 0; e < experts.size(); e++) {
      TensorVector places = torch.where(choices.eq(new Scalar(e)));
      Tensor token = places.get(0);
      if (token.numel() > 0) {
        Tensor rows = experts.get(e).apply(at(hidden, token), training ? dropout : 0);
        Tensor weight = at(weights, token, places.get(1)).to(Tensors.dtype(rows));
        output.index_add_(0, token, rows.mul(weight.unsqueeze(1)));
      }
    }
    return output;
  }

  private static Tensor at(Tensor x, Tensor... places) {
    TensorIndexVector indices = new TensorIndexVector();
    for (Tensor place : places) {
      indices.push_back(new TensorIndex(place));
    }
    return x.index(indices);
  }

  @Override
  public void close() {
    leaves.forEach(Tensor::close);
  }
}
