package moe4j.moe.bench;

import moe4j.tensor.BoxedOp;
import moe4j.tensor.Tensors;
import moe4j.transformer.Activation;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Experts as PyTorch offers them: rows sorted by expert, two products by {@code aten::_grouped_mm},
 * rows back in the tokens' order, weighted and added up.
 *
 * @param dropout of the activations, in training
 */
record SortedGroups(LayerWeights weights, Activation activation, double dropout) {
  private static final BoxedOp GROUPED_MM = BoxedOp.find("aten::_grouped_mm", "");

  /** Where {@code aten::_grouped_mm} lets a row begin, in bytes. */
  private static final long ALIGNMENT = 16;

  /** Whether the operator takes a layer's sizes. */
  static boolean takes(BenchShape shape, ScalarType dtype) {
    long multiple = ALIGNMENT / (dtype == ScalarType.Float ? 4 : 2);
    return shape.model().hiddenSize() % multiple == 0 && shape.expertHiddenSize() % multiple == 0;
  }

  /**
   * Computes the layer.
   *
   * @param hidden [T, h]
   * @param choices int64 [T, k]
   * @param chosen fp32 [T, k], the choices' weights
   * @param training whether values are dropped
   */
  Tensor forward(Tensor hidden, Tensor choices, Tensor chosen, boolean training) {
    long k = choices.size(1);
    Tensor flat = choices.flatten();
    Tensor order = torch.argsort(flat, true, 0, false);
    Tensor zeros = Tensors.zeros(ScalarType.Long, flat.device(), weights.fc1().size(0));
    Tensor counts = zeros.scatter_add(0, flat, torch.ones_like(flat));
    Tensor offsets = counts.cumsum(0).to(ScalarType.Int);
    Tensor expert = flat.index_select(0, order);
    Tensor rows = hidden.index_select(0, order.floor_divide(new Scalar(k)));
    Tensor inner = product(rows, weights.fc1(), weights.bias1(), offsets, expert);
    inner = PlainMlp.activation(activation, inner);
    if (training && dropout > 0) {
      inner = torch.dropout(inner, dropout, true);
    }
    Tensor outer = product(inner, weights.fc2(), weights.bias2(), offsets, expert);
    Tensor place = torch.empty_like(order);
    place.scatter_(0, order, torch.arange(new Scalar(order.numel()), order.options()));
    Tensor back = outer.index_select(0, place).view(hidden.size(0), k, -1);
    return back.mul(chosen.to(Tensors.dtype(back)).unsqueeze(2)).sum(1);
  }

  private static Tensor product(
      Tensor x, Tensor weight, Tensor bias, Tensor offsets, Tensor expert) {
    Tensor y = GROUPED_MM.call(x, weight.transpose(1, 2), offsets, null, null);
    return bias == null ? y : y.add(bias.index_select(0, expert));
  }
}
