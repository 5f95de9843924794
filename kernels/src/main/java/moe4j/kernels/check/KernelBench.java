package moe4j.kernels.check;

import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The shapes in which a topic's operations are timed. */
public interface KernelBench {
  /**
   * The size and the type of what is timed.
   *
   * @param dtype bf16 or fp32
   * @param small whether shapes are small enough for a CPU to compute in milliseconds, and not
   *     those of a model
   */
  record Scale(ScalarType dtype, boolean small) {
    /** A size of a model, or a small one. */
    public long of(long large, long little) {
      return small ? little : large;
    }

    /** The bytes of so many elements. */
    public long bytes(long elements) {
      return elements * (dtype == ScalarType.Float ? 4 : 2);
    }
  }

  /** The topic, which is the last part of the name of the bench's package. */
  default String name() {
    String name = getClass().getPackageName();
    return name.substring(name.lastIndexOf('.') + 1);
  }

  /** The cases to time: for each operation that has a kernel at least its forward. */
  List<BenchCase> cases(Scale scale);
}
