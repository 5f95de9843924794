package moe4j.kernels.check;

/**
 * Compares a kernel on fresh random inputs against fp64 on the CPU in plain operations, the outputs
 * and every gradient. On a CPU the same checks hold the reference against fp64.
 */
public interface KernelCheck {
  /** What is checked, such as {@code dropout}. */
  String name();

  /**
   * Computes and compares.
   *
   * @param on gives the inputs and takes what was found
   */
  void run(Comparison on);
}
