package moe4j.kernels.attention;

import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** libtorch's {@code scaled_dot_product_attention}, in the type that is fastest where it runs. */
public final class ScaledDotProductAttention {
  private ScaledDotProductAttention() {}

  /**
   * {@code softmax(q k^T / sqrt(d)) v} over the keys a query may see.
   *
   * <p>On a CPU bf16 is computed in fp32: libtorch's backward multiplies bf16 matrices element by
   * element where it was built without MKL, as here, and takes ten times as long.
   *
   * @param query [B, n, S, d], any float type; key and value have its shape and type
   * @param allowed bool, broadcast to [B, n, S, S], true where a query may see a key; null for
   *     plain causality
   * @return [B, n, S, d], in the query's type
   * @throws IllegalArgumentException where {@code --attention-backend} names a kernel that refuses
   *     these
   */
  public static Tensor apply(Tensor query, Tensor key, Tensor value, Tensor allowed) {
    ScalarType type = Tensors.dtype(query);
    if (query.is_cpu() && type == ScalarType.BFloat16) {
      ScalarType wide = ScalarType.Float;
      return attend(query.to(wide), key.to(wide), value.to(wide), allowed).to(type);
    }
    if (query.is_cuda() && allowed == null) {
      return chosen(query, key, value);
    } else if (query.is_cuda()) {
      AttentionBackend.useAny();
    }
    return attend(query, key, value, allowed);
  }

  private static Tensor chosen(Tensor query, Tensor key, Tensor value) {
    AttentionBackend.choose(query, key, value, (q, k, v) -> attend(q, k, v, null));
    try {
      return attend(query, key, value, null);
    } catch (RuntimeException e) {
      throw AttentionBackend.explained(e, query);
    }
  }

  private static Tensor attend(Tensor query, Tensor key, Tensor value, Tensor allowed) {
    return torch.scaled_dot_product_attention(
        query,
        key,
        value,
        Tensors.optional(allowed),
        0.0,
        allowed == null,
        new DoubleOptional(),
        false);
  }
}
