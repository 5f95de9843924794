/**
 * The tensor foundation (native memory, gradients defined in Java, random numbers keyed by place)
 * and the kernels: a package for each topic, in which each operation lies beside its reference and
 * its kernel.
 */
@SuppressWarnings("module") // moe4j.megatron is built after this module.
module moe4j.kernels {
  requires transitive org.bytedeco.javacpp;
  requires transitive org.bytedeco.pytorch;
  requires org.bytedeco.cuda;
  requires org.bytedeco.openblas;

  // The foundation of everything else.
  exports moe4j.tensor;
  // Operations, which users' own layers may call.
  exports moe4j.kernels.activation;
  exports moe4j.kernels.attention;
  exports moe4j.kernels.dropout;
  exports moe4j.kernels.experts;
  exports moe4j.kernels.loss;
  exports moe4j.kernels.norm;
  exports moe4j.kernels.optimizer;
  exports moe4j.kernels.product;
  // What compares a kernel with its reference.
  exports moe4j.kernels.check;
  // The loader of kernels, graphs, and the lists of checks and benches are for the program alone.
  exports moe4j.kernels to
      moe4j.megatron;
  exports moe4j.kernels.bench to
      moe4j.megatron;
  exports moe4j.kernels.cuda to
      moe4j.megatron;
  exports moe4j.kernels.selftest to
      moe4j.megatron;
}
