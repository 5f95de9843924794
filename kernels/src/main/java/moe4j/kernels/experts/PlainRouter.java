package moe4j.kernels.experts;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** {@link TokenRouter}'s reference: the same by libtorch's operations, on any device. */
final class PlainRouter {
  private PlainRouter() {}

  static TokenRouter route(Tensor given, TokenRouter.Form form, TokenRouter.Beside beside) {
    Tensor bias = beside.bias();
    Tensor padding = beside.padding();
    // Padding has no gradient, whatever its logits are.
    Tensor logits = real(given, padding);
    Tensor scores = form.score().of(logits);
    TopK top = TopK.of(bias == null ? scores : scores.detach().add(bias), form.topk());
    Tensor chosen = bias == null ? top.values() : scores.gather(1, top.indices());
    Tensor weights = form.score().weights(chosen, form.scaling());
    Tensor experts =
        padding == null
            ? top.indices()
            : top.indices().masked_fill(padding.unsqueeze(1), new Scalar(-1));
    RouteSort sorted = RouteSort.of(experts, Math.toIntExact(logits.size(1)));
    Tensor weight =
        RowGather.spread(weights.reshape(-1, 1), sorted.order(), sorted.slot().reshape(-1, 1));
    Tensor ends = sorted.offsets().to(ScalarType.Long);
    Tensor starts = ends.roll(1);
    starts.select(0, 0).zero_();
    Tensor counts = ends.sub(starts);
    return new TokenRouter(
        sorted.token(),
        sorted.slot(),
        sorted.offsets(),
        counts,
        weight.view(-1),
        form.hasFigures() || form.hasZ() ? losses(logits, scores, counts, form, padding) : null,
        null);
  }

  private static TokenRouter.Losses losses(
      Tensor logits, Tensor scores, Tensor counts, TokenRouter.Form form, Tensor padding) {
    Tensor tokens = tokens(logits, padding);
    Tensor balance = null;
    Tensor entropy = null;
    if (form.hasFigures()) {
      Tensor p = real(form.score().probabilities(logits, scores), padding);
      double perChoice = logits.size(1) / (double) form.topk();
      Tensor shares = counts.to(ScalarType.Float).div(tokens);
      balance = p.sum(0).div(tokens).mul(shares).sum().mul(new Scalar(perChoice));
      entropy = torch.special_entr(p.detach()).sum().div(tokens);
    }
    Tensor z = form.hasZ() ? real(logits.logsumexp(1), padding).square().sum().div(tokens) : null;
    return new TokenRouter.Losses(balance, z, entropy);
  }

  /** How many tokens are no padding, or 1: a scalar of the logits' type. */
  private static Tensor tokens(Tensor logits, Tensor padding) {
    if (padding == null) {
      return torch.full(new long[0], new Scalar(Math.max(1, logits.size(0))), logits.options());
    }
    return padding.logical_not().sum().clamp_min(new Scalar(1)).to(logits.scalar_type());
  }

  /** Values with zeros in padding's places, whatever was there. */
  private static Tensor real(Tensor values, Tensor padding) {
    if (padding == null) {
      return values;
    }
    Tensor rows = values.dim() == 1 ? padding : padding.unsqueeze(1);
    return values.masked_fill(rows, new Scalar(0));
  }
}
