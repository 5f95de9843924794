/**
 * The tensor foundation and the kernels: native memory, random numbers keyed by place, and one
 * folder a topic with each operation's reference and kernel.
 */
@SuppressWarnings("module") // moe4j.megatron is built after this module.
module moe4j.kernels {
  requires transitive org.bytedeco.javacpp;
  requires transitive org.bytedeco.pytorch;
  requires org.bytedeco.cuda;
  requires org.bytedeco.openblas;

  // What everybody stands on.
  exports moe4j.tensor;
  // Operations that layers of one's own may call.
  exports moe4j.kernels.activation;
  exports moe4j.kernels.attention;
  exports moe4j.kernels.dropout;
  exports moe4j.kernels.experts;
  exports moe4j.kernels.loss;
  exports moe4j.kernels.norm;
  exports moe4j.kernels.optimizer;
  exports moe4j.kernels.product;
  // What a kernel is compared with its reference by.
  exports moe4j.kernels.check;
  // Compiled code, graphs and the lists of checks and of what is timed are for the program alone.
  exports moe4j.kernels to
      moe4j.megatron;
  exports moe4j.kernels.bench to
      moe4j.megatron;
  exports moe4j.kernels.cuda to
      moe4j.megatron;
  exports moe4j.kernels.selftest to
      moe4j.megatron;
}
