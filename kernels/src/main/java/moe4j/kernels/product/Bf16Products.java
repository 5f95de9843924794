package moe4j.kernels.product;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The one place where it is chosen how a CPU multiplies bf16 matrices. A processor with
 * instructions for bf16 leaves that to libtorch. On others libtorch's product goes element by
 * element, or through instructions that imitate the missing ones; there the matrices are made fp32,
 * multiplied so, and the product is rounded to bf16, once. libtorch's product adds up in fp32, too,
 * so that both differ only in the order of a sum.
 *
 * <p>{@code MOE4J_BF16_PRODUCTS} in the environment, {@code native} or {@code fp32}, decides
 * instead of the processor.
 */
public final class Bf16Products {
  /** The environment's variable that decides. */
  static final String VARIABLE = "MOE4J_BF16_PRODUCTS";

  private static final Path PROCESSOR = Path.of("/proc/cpuinfo");

  /** Linux's names of the instructions: x86's, and Arm's. */
  private static final List<String> INSTRUCTIONS = List.of("avx512_bf16", "amx_bf16", "bf16");

  /** How a product is made. */
  public enum Way {
    /** By libtorch, as it is. */
    NATIVE,
    /** By fp32 products. */
    FP32
  }

  /**
   * A way, and why it is taken.
   *
   * @param reason a clause that follows the way in a sentence
   */
  public record Choice(Way way, String reason) {
    /** The choice as the end of a sentence. */
    @Override
    public String toString() {
      return (way == Way.FP32
              ? "products in fp32, each rounded once to bf16: "
              : "products by libtorch as they are: ")
          + reason;
    }
  }

  private static volatile Choice choice;

  private Bf16Products() {}

  /** Which way this machine takes; it is looked up once. */
  public static Choice choice() {
    Choice known = choice;
    if (known == null) {
      known = choose(System.getenv(VARIABLE), processor(), OneDnn.takesBf16());
      choice = known;
    }
    return known;
  }

  /** Makes products in this way from now on; null goes back to what the machine says. */
  public static void use(Way way) {
    choice = way == null ? null : new Choice(way, "as was asked for");
  }

  /**
   * The choice.
   *
   * @param asked the environment's word, or null
   * @param flags of the processor; null where the system does not tell them
   * @param oneDnn whether libtorch would take a bf16 product to oneDNN
   */
  static Choice choose(String asked, List<String> flags, boolean oneDnn) {
    if (asked != null && !asked.isBlank()) {
      return switch (asked.strip().toLowerCase(Locale.ROOT)) {
        case "native" -> new Choice(Way.NATIVE, "as " + VARIABLE + " says");
        case "fp32" -> new Choice(Way.FP32, "as " + VARIABLE + " says");
        default ->
            throw new IllegalArgumentException(
                "%s=%s in the environment: it is native or fp32".formatted(VARIABLE, asked));
      };
    }
    if (flags != null && flags.stream().noneMatch(INSTRUCTIONS::contains)) {
      return new Choice(Way.FP32, "the processor has no bf16 instructions");
    }
    return oneDnn
        ? new Choice(Way.NATIVE, "the processor has bf16 instructions")
        : new Choice(Way.FP32, "libtorch does not use this processor's bf16 instructions");
  }

  private static List<String> processor() {
    try {
      return Files.readAllLines(PROCESSOR).stream()
          .filter(line -> line.startsWith("flags") || line.startsWith("Features"))
          .findFirst()
          .map(line -> Arrays.asList(line.substring(line.indexOf(':') + 1).trim().split(" ")))
          .orElse(null);
    } catch (IOException e) {
      return null;
    }
  }

  /** Whether products of a tensor like this are made in fp32: bf16 on such a CPU. */
  public static boolean take(Tensor x) {
    return Tensors.dtype(x) == ScalarType.BFloat16 && x.is_cpu() && choice().way() == Way.FP32;
  }

  /** Converts to fp32; null for null. */
  public static Tensor wide(Tensor x) {
    return x == null ? null : x.to(ScalarType.Float);
  }

  /** What was computed in fp32, rounded; all other tensors made on the way are closed. */
  static Tensor rounded(Supplier<Tensor> body) {
    return Scopes.compute(() -> round(body.get()));
  }

  /** Rounds to bf16. */
  public static Tensor round(Tensor wide) {
    return wide.to(ScalarType.BFloat16);
  }

  /**
   * {@code a b}, batched or not, with its gradient: for products of activations, as attention has
   * them. Those with a weight go through {@link Gemm}.
   *
   * @param a [..., m, k]
   * @param b [..., k, n]
   * @return [..., m, n]
   */
  public static Tensor matmul(Tensor a, Tensor b) {
    return take(a) && take(b) ? round(wide(a).matmul(wide(b))) : torch.matmul(a, b);
  }
}
