package moe4j.cli;

import java.util.List;
import java.util.Locale;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.config.TrainingConfig;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.training.step.BlockBench;
import moe4j.training.step.BlockBench.Times;
import moe4j.training.step.ComputeDevice;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j bench moe}: the time of an MoE layer beside that of a dense feed-forward layer of as
 * many FLOPs.
 *
 * <pre>
 * moe4j bench moe --hidden-size 512 --tokens 4096 --num-experts 16 --fmoefy
 * moe4j bench moe --hidden-size 512 --tokens 4096 --num-experts 16 --balance-strategy switch --top-k 1
 * </pre>
 */
public final class BenchMoeCommand implements Command {

  /** Its flags beside those of the experts. */
  public record Options(
      @Flag(help = "hidden size", value = "256") int hiddenSize,
      @Flag(
              help = "hidden size of a dense feed-forward layer, of which the experts' follows",
              otherwise = "4 x hidden-size")
          Integer ffnHiddenSize,
      @Flag(help = "SwiGLU and not GELU") boolean swiglu,
      @Flag(help = "tokens that the layer is given", value = "1024") int tokens,
      @Flag(help = "first rounds that do not count", value = "5") int warmupRounds,
      @Flag(help = "rounds, of which the median is printed", value = "20") int rounds,
      @Flag(help = "bf16 and not fp32") boolean bf16,
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(
              help = "replay a round as a CUDA graph, as a training step is",
              value = "on",
              choices = {"on", "off"},
              needs = "device cuda")
          String cudaGraph,
      @Flag(
              help = "compute with libtorch's operations and without kernels of moe4j's own",
              needs = "device cuda")
          boolean noFusedKernels,
      @Flag(help = "threads of the CPU's kernels", otherwise = "OMP_NUM_THREADS, or one a core")
          Integer numThreads) {

    /** Fills the dense layer's size and checks ranges. */
    public Options {
      if (ffnHiddenSize == null) {
        ffnHiddenSize = 4 * hiddenSize;
      }
      Ranges.positive("hidden-size", hiddenSize);
      Ranges.positive("ffn-hidden-size", ffnHiddenSize);
      Ranges.positive("tokens", tokens);
      Ranges.positive("rounds", rounds);
      Ranges.notNegative("warmup-rounds", warmupRounds);
    }

    /** A model of one such layer. */
    LayerShape shape() {
      Activation activation = swiglu ? Activation.SWIGLU : Activation.GELU;
      return LayerShape.of(1, hiddenSize, ffnHiddenSize, activation, 0.02).withBias(false);
    }

    TrainingConfig training() {
      return TrainingConfig.builder()
          .microBatchSize(1)
          .trainIters(0)
          .bf16(bf16)
          .device(device)
          .noFusedKernels(noFusedKernels)
          .numThreads(numThreads)
          .build();
    }
  }

  @Override
  public String name() {
    return "bench moe";
  }

  @Override
  public String summary() {
    return "time an MoE layer beside a dense layer of as many FLOPs";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, MoeConfig.class);
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    MoeConfig moe = parsed.get(MoeConfig.class);
    if (!moe.enabled()) {
      throw new IllegalArgumentException(
          "--num-experts is required: without experts there is no MoE layer to time");
    }
    LayerShape shape = parsed.get(Options.class).shape();
    moe.moeLayers(shape.layers());
    moe.expertHiddenSize(shape);
  }

  @Override
  public int run(Flags.Parsed parsed) {
    Options options = parsed.get(Options.class);
    MoeConfig moe = parsed.get(MoeConfig.class);
    LayerShape shape = options.shape();
    int expert = moe.expertHiddenSize(shape);
    LayerShape dense = shape.withFfnHiddenSize(activeChannels(moe, expert));
    TrainingConfig training = options.training();
    if (training.numThreads() != null) {
      NativeLibraries.setThreads(training.numThreads());
    }
    ScalarType dtype = training.bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    try (ComputeDevice device = ComputeDevice.open(training);
        BlockBench bench =
            new BlockBench(
                device.device(),
                dtype,
                options.tokens(),
                shape.hiddenSize(),
                options.cudaGraph().equals("on"),
                options.warmupRounds(),
                options.rounds())) {
      System.out.printf(
          "%s, %s, commit %s%n",
          training.device().equals("cuda")
              ? Cuda.name()
              : "CPU, %d threads".formatted(NativeLibraries.threads()),
          training.bf16() ? "bf16" : "fp32",
          BuildInfo.commit());
      System.out.printf(
          "%d tokens of %d channels; experts: %d of %d channels, %d a token; dense: %d channels%n",
          options.tokens(),
          shape.hiddenSize(),
          moe.numExperts(),
          expert,
          moe.moeRouterTopk(),
          dense.ffnHiddenSize());
      double flops = flops(dense, options.tokens());
      List<Times> experts =
          bench.run("MoE", scope -> Moe.feedForward(shape, moe).create(0, scope), flops);
      List<Times> mlp = bench.run("dense", scope -> new Mlp(dense, 0, scope), flops);
      experts.forEach(System.out::println);
      mlp.forEach(System.out::println);
      System.out.printf(
          Locale.ROOT,
          "MoE takes %.2f times as long as dense, %.2f times with the backward%n",
          experts.get(0).median() / mlp.get(0).median(),
          experts.get(1).median() / mlp.get(1).median());
    }
    return 0;
  }

  /** Hidden channels that a token goes through. */
  private static int activeChannels(MoeConfig moe, int expert) {
    Integer shared = moe.moeSharedExpertIntermediateSize();
    return Math.addExact(
        Math.multiplyExact(expert, moe.moeRouterTopk()), shared == null ? 0 : shared);
  }

  /** Of a dense layer's forward, matrix products alone. */
  private static double flops(LayerShape dense, int tokens) {
    return 2.0
        * tokens
        * dense.hiddenSize()
        * dense.ffnHiddenSize()
        * (dense.activation().inputs() + 1);
  }
}
