package moe4j.kernels.selftest;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The loader of kernels: what it says of a source that does not compile, and of a launch whose
 * arguments are not the kernel's parameters.
 */
final class LoaderCheck implements KernelCheck {
  @Override
  public String name() {
    return "loader";
  }

  @Override
  public void run(Comparison on) {
    String said = "nothing";
    try {
      CudaKernel.of("product/columns.cu", "column_finish", "TYPE=no_such_type").load();
    } catch (IllegalStateException e) {
      said = e.getMessage();
    }
    // The type is first used in a header of all kernels.
    on.holds(
        "a compile error names file and line",
        said.matches(
            "The kernels in product/columns.* tile\\.cuh\\(\\d+\\): error: .*no_such_type.*"));
    boolean found = true;
    try {
      CudaKernel.of("product/columns.cu", "no_such_function", "TYPE=bf16").load();
    } catch (IllegalStateException e) {
      found = !e.getMessage().contains("no_such_function");
    }
    on.holds("a function that is not there is named", !found);
    arguments(on);
  }

  /** column_finish has two addresses and two ints. */
  private static void arguments(Comparison on) {
    CudaKernel kernel = CudaKernel.of("product/columns.cu", "column_finish", "TYPE=float");
    Tensor partials = on.normal(ScalarType.Float, 3, 32).to(on.device(), ScalarType.Float);
    Tensor sums = Tensors.zeros(ScalarType.Float, on.device(), 32);
    String name = "of the kernel column_finish of product/columns\\.cu \\[TYPE=float\\]";
    on.holds(
        "an argument too few is named with its parameter's size",
        refusal(kernel, partials, sums, 3)
            .matches("Argument 4 " + name + " is missing.* of which this one has 4 bytes\\."));
    on.holds(
        "an argument of another size is named with both",
        refusal(kernel, partials, sums, 3L, 32)
            .matches("Argument 3 " + name + " has 8 bytes \\(Long\\).* parameter has 4\\."));
    on.holds(
        "an argument too many is named with its size",
        refusal(kernel, partials, sums, 3, 32, 0.5f)
            .matches("Argument 5 " + name + ", of 4 bytes \\(Float\\), has no parameter: .*"));
    on.holds("nothing was launched", Tensors.item(sums.abs().sum()) == 0);
    kernel.launch(1, 512, 0, partials, sums, 3, 32);
    on.close("arguments of the parameters' sizes are taken", sums, partials.sum(0), 1e-6);
  }

  private static String refusal(CudaKernel kernel, Object... arguments) {
    try {
      kernel.launch(1, 512, 0, arguments);
      return "nothing";
    } catch (IllegalArgumentException e) {
      return e.getMessage();
    }
  }
}
