package moe4j.model.txl;

import moe4j.kernels.product.Gemm;
import moe4j.tensor.CustomFunction;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * A segment's queries, and the keys and values of the segment and of the memory before it. The
 * memory has no gradient, so the backward computes none: autograd's own would, only to drop it.
 */
final class ContextProjection extends CustomFunction {
  private Tensor segment;
  private Tensor context;
  private Tensor query;
  private Tensor keyValue;

  private ContextProjection() {}

  /**
   * What comes out.
   *
   * @param queries [B Q, n d]
   * @param keysAndValues [B K, 2 n d]
   */
  record Result(Tensor queries, Tensor keysAndValues) {}

  /**
   * Projects.
   *
   * @param segment [B, Q, h]
   * @param context [B, K, h], the memory and then the same segment; nothing of it has a gradient
   * @param query [n d, h]
   * @param keyValue [2 n d, h]
   */
  static Result of(Tensor segment, Tensor context, Tensor query, Tensor keyValue) {
    Tensor[] results = new ContextProjection().apply(segment, context, query, keyValue);
    return new Result(results[0], results[1]);
  }

  @Override
  protected Tensor[] forward(Tensor[] inputs) {
    segment = save(inputs[0]);
    context = save(inputs[1]);
    query = save(inputs[2]);
    keyValue = save(inputs[3]);
    return new Tensor[] {
      Gemm.product(rows(segment), query, null), Gemm.product(rows(context), keyValue, null)
    };
  }

  @Override
  protected Tensor[] backward(Tensor[] gradients) {
    Tensor ofQueries = gradients[0];
    Tensor ofContext = gradients[1];
    return new Tensor[] {
      needsGradient(0) ? segmentGradient(ofQueries, ofContext) : null,
      null,
      needsGradient(2) ? Gemm.weightGradients(ofQueries, rows(segment), query, false).get(0) : null,
      needsGradient(3)
          ? Gemm.weightGradients(ofContext, rows(context), keyValue, false).get(0)
          : null
    };
  }

  private Tensor segmentGradient(Tensor ofQueries, Tensor ofContext) {
    long batch = segment.size(0);
    long queries = segment.size(1);
    long keys = context.size(1);
    Tensor gradient = Gemm.inputGradient(ofQueries, query).view(segment.shape());
    Tensor own = ofContext.view(batch, keys, -1).narrow(1, keys - queries, queries);
    if (own.is_cuda()) {
      // In batches the rows need not be neighbours, and the sum is made in passing.
      Tensor weights = keyValue.unsqueeze(0).expand(batch, keyValue.size(0), keyValue.size(1));
      return gradient.baddbmm_(own, weights, new Scalar(1), new Scalar(1));
    }
    Tensor more = Gemm.inputGradient(rows(own.contiguous()), keyValue);
    return gradient.add_(more.view(segment.shape()));
  }

  private static Tensor rows(Tensor x) {
    return x.view(-1, x.size(-1));
  }
}
