package moe4j.kernels.attention;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import moe4j.kernels.cuda.Cuda;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Context;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorArrayRefOptional;
import org.bytedeco.pytorch.global.torch;

/**
 * libtorch's kernels of causal attention on a GPU. Which is the fastest differs with shape, type,
 * GPU and version, so it is measured where a shape is first met, forward and backward. Where
 * libtorch is to be deterministic, no clock may decide: the first one that takes the shape is used.
 */
public enum AttentionBackend {
  /** FlashAttention-2. */
  FLASH,
  /** cuDNN's fused kernel. */
  FUSED,
  /** Memory-efficient attention, from CUTLASS. */
  EFFICIENT,
  /** Plain products and a softmax. */
  UNFUSED;

  /** Causal attention by whichever kernel is in use. */
  @FunctionalInterface
  interface Attention {
    /** The result, [B, n, S, d], for a query, a key and a value of that shape. */
    Tensor of(Tensor query, Tensor key, Tensor value);
  }

  private static final int ROUNDS = 3;
  private static final Map<String, AttentionBackend> CHOSEN = new ConcurrentHashMap<>();
  private static volatile AttentionBackend forced;

  /** Makes one of them compute all causal attention; null goes back to the fastest. */
  public static void force(AttentionBackend backend) {
    forced = backend;
  }

  /** The backend of a name on a command line; null for {@code auto}. */
  public static AttentionBackend named(String name) {
    return name.equals("auto") ? null : valueOf(name.toUpperCase(Locale.ROOT));
  }

  /** What was chosen so far, by shape: for people to read. */
  public static Map<String, AttentionBackend> chosen() {
    return Map.copyOf(CHOSEN);
  }

  /** Lets libtorch use this one alone. */
  void use() {
    Context context = torch.globalContext();
    context.setSDPUseFlash(this == FLASH);
    context.setSDPUseCuDNN(this == FUSED);
    context.setSDPUseMemEfficient(this == EFFICIENT);
    context.setSDPUseMath(this == UNFUSED);
  }

  /** Lets libtorch choose by itself, for shapes that are met once and for masks. */
  static void useAny() {
    Context context = torch.globalContext();
    context.setSDPUseFlash(true);
    context.setSDPUseCuDNN(true);
    context.setSDPUseMemEfficient(true);
    context.setSDPUseMath(true);
  }

  /** Chooses for causal attention among such queries, keys and values, and has it used. */
  static void choose(Tensor query, Tensor key, Tensor value, Attention attention) {
    AttentionBackend backend = forced;
    boolean deterministic = torch.globalContext().deterministicAlgorithms();
    String shape =
        Tensors.dtype(query)
            + " "
            + Tensors.shape(query)
            + (query.is_contiguous() ? "" : " strided")
            + (deterministic ? " deterministic" : "");
    if (backend == null) {
      backend = CHOSEN.get(shape);
    }
    if (backend == null && query.requires_grad()) {
      backend = best(query, key, value, attention, deterministic);
      CHOSEN.put(shape, backend);
    }
    if (backend == null) {
      useAny();
    } else {
      backend.use();
    }
  }

  /**
   * A failure of the attention, in a sentence that names the kernel where a certain one was asked
   * for.
   */
  static RuntimeException explained(RuntimeException failure, Tensor query) {
    AttentionBackend asked = forced;
    if (asked == null) {
      return failure;
    }
    String reason = String.valueOf(failure.getMessage()).lines().findFirst().orElse("");
    return new IllegalArgumentException(
        "attention backend %s fails on queries of %s in %s: %s"
            .formatted(
                asked.name().toLowerCase(Locale.ROOT),
                Tensors.shape(query),
                Tensors.dtype(query),
                reason),
        failure);
  }

  /**
   * The fastest that takes these; or, where that is asked for, the first of those whose sums are in
   * a fixed order, which cuDNN's are not.
   */
  private static AttentionBackend best(
      Tensor query, Tensor key, Tensor value, Attention attention, boolean deterministic) {
    AttentionBackend best = UNFUSED;
    long bestNanos = Long.MAX_VALUE;
    for (AttentionBackend backend :
        deterministic ? List.of(FLASH, EFFICIENT) : List.of(FUSED, FLASH, EFFICIENT)) {
      long nanos = measure(backend, query, key, value, attention);
      if (nanos < bestNanos) {
        best = backend;
        bestNanos = nanos;
        if (deterministic) {
          break;
        }
      }
    }
    return best;
  }

  /**
   * The shortest of a few rounds in nanoseconds, or the largest long if the kernel refuses these.
   */
  private static long measure(
      AttentionBackend backend, Tensor query, Tensor key, Tensor value, Attention attention) {
    backend.use();
    long best = Long.MAX_VALUE;
    try {
      for (int round = 0; round <= ROUNDS; round++) {
        try (PointerScope scope = new PointerScope();
            AutoGradMode mode = new AutoGradMode(true)) {
          Tensor q = query.detach().set_requires_grad(true);
          Tensor k = key.detach().set_requires_grad(true);
          Tensor v = value.detach().set_requires_grad(true);
          Cuda.synchronize();
          long begin = System.nanoTime();
          Tensor out = attention.of(q, k, v);
          // Any dense gradient will do.
          out.backward(out.detach(), new BoolOptional(), false, new TensorArrayRefOptional());
          Cuda.synchronize();
          // The first round makes plans.
          best = round == 0 ? best : Math.min(best, System.nanoTime() - begin);
        }
      }
      return best;
    } catch (RuntimeException e) {
      // In this way libtorch says that a kernel does not take these.
      return Long.MAX_VALUE;
    }
  }
}
