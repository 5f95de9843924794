package moe4j.kernels.check;

import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The shapes in which a topic's operations are timed. */
public interface KernelBench {
  /**
   * How large, and in which type.
   *
   * @param dtype bf16 or fp32
   * @param small whether shapes are such as a CPU computes in milliseconds, and not a model's
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

  /** The topic, which is the package's name. */
  String name();

  /** What is timed: of every operation at least its forward. */
  List<BenchCase> cases(Scale scale);
}
