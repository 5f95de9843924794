package moe4j.kernels.selftest;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.CudaKernel;

/** The loader of kernels: what it says of a source that does not compile. */
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
  }
}
