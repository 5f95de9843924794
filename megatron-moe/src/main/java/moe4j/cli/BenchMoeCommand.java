package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import moe4j.config.BuildInfo;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.config.TrainingConfig;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.bench.WorkTimer;
import moe4j.kernels.cuda.Cuda;
import moe4j.moe.MoeConfig;
import moe4j.moe.bench.BenchShape;
import moe4j.moe.bench.ExpertSweep;
import moe4j.moe.bench.LayerBench;
import moe4j.report.SpeedPicture;
import moe4j.training.step.ComputeDevice;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j bench moe}: the time of an MoE layer beside that of a naive loop over experts, of
 * libtorch's grouped products and of a dense feed-forward layer of as many FLOPs.
 *
 * <pre>
 * moe4j bench moe --shape A,C96,G --bf16 --device cuda
 * moe4j bench moe --sweep-experts 2,4,8,16,32,64,96,128 --bf16 --device cuda
 * moe4j bench moe --hidden-size 512 --tokens 4096 --num-experts 16 --fmoefy
 * moe4j bench moe --hidden-size 512 --tokens 4096 --num-experts 16 --balance-strategy switch --top-k 1
 * </pre>
 */
public final class BenchMoeCommand implements Command {
  /** The layer of FastMoE's figure, whatever its number of experts. */
  private static final String SWEPT = "C8";

  /** Flags that say what a named shape says already. */
  private static final List<String> SIZES =
      List.of(
          "num-experts",
          "tokens",
          "hidden-size",
          "ffn-hidden-size",
          "swiglu",
          "squared-relu",
          "relu");

  /** What of the experts' flags is measured where the gate is left out. */
  private static final Set<String> WITHOUT_GATE =
      Set.of(
          "num_experts",
          "moe_router_topk",
          "moe_ffn_hidden_size",
          "moe_shared_expert_intermediate_size",
          "moe_shared_expert_gate",
          "add_expert_bias",
          "fmoefy",
          "moe_grouped_products");

  /** Its flags beside those of the experts. */
  public record Options(
      @Flag(
              help =
                  "layers by name, with commas between them, in place of sizes and --num-experts:"
                      + " A, C8, C32, C96, C128, B, D, G, X64, X128, F")
          List<String> shape,
      @Flag(help = "named shapes in a small size, which a CPU takes in any case") boolean small,
      @Flag(
              help =
                  "numbers of experts, with commas between them: times the layer with each, and"
                      + " draws a picture")
          List<String> sweepExperts,
      @Flag(help = "directory for that picture, experts.png", value = "runs/sweep-experts")
          String outputDir,
      @Flag(help = "hidden size", value = "256") int hiddenSize,
      @Flag(
              help = "hidden size of a dense feed-forward layer, of which the experts' follows",
              otherwise = "4 x hidden-size")
          Integer ffnHiddenSize,
      @Flag(help = "SwiGLU and not GELU") boolean swiglu,
      @Flag(help = "the square of ReLU and not GELU") boolean squaredRelu,
      @Flag(help = "ReLU and not GELU; Megatron has no flag for it") boolean relu,
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
              needs = "device cuda",
              tolerated = true)
          String cudaGraph,
      @Flag(
              help = "compute with libtorch's operations and without kernels of moe4j's own",
              needs = "device cuda",
              tolerated = true)
          boolean noFusedKernels,
      @Flag(help = "threads of the CPU's kernels", otherwise = "OMP_NUM_THREADS, or one a core")
          Integer numThreads) {

    /** Fills the dense layer's size and checks ranges. */
    public Options {
      shape = separate(shape);
      sweepExperts = separate(sweepExperts);
      if (ffnHiddenSize == null) {
        if (hiddenSize > Integer.MAX_VALUE / 4) {
          throw new IllegalArgumentException(
              "--hidden-size %d: the usual --ffn-hidden-size would be %d, and at most %d is possible"
                  .formatted(hiddenSize, 4L * hiddenSize, Integer.MAX_VALUE));
        }
        ffnHiddenSize = 4 * hiddenSize;
      }
      Activation.flagged(swiglu, squaredRelu, relu);
      shape.forEach(BenchShape::named);
      counts(sweepExperts);
      Ranges.positive("hidden-size", hiddenSize);
      Ranges.positive("ffn-hidden-size", ffnHiddenSize);
      Ranges.positive("tokens", tokens);
      Ranges.threads(numThreads);
      Ranges.positive("rounds", rounds);
      Ranges.notNegative("warmup-rounds", warmupRounds);
    }

    private static List<String> separate(List<String> words) {
      return words.stream()
          .flatMap(word -> List.of(word.split(",", -1)).stream())
          .map(String::strip)
          .distinct()
          .toList();
    }

    /** The numbers of experts of a sweep. */
    private static List<Integer> counts(List<String> words) {
      List<Integer> counts = new ArrayList<>();
      for (String word : words) {
        try {
          counts.add(Integer.valueOf(word));
        } catch (NumberFormatException e) {
          throw new IllegalArgumentException(
              "--sweep-experts takes whole numbers with commas between them, not '%s'"
                  .formatted(word),
              e);
        }
        Ranges.positive("sweep-experts", counts.get(counts.size() - 1));
      }
      return counts;
    }

    /** Whether the layers are known by name, and not by their sizes. */
    private boolean named(MoeConfig moe) {
      return !shape.isEmpty() || (!sweepExperts.isEmpty() && !moe.enabled());
    }

    /** The layers to time. */
    List<BenchShape> shapes(MoeConfig moe) {
      if (!named(moe)) {
        Activation activation = Activation.flagged(swiglu, squaredRelu, relu);
        LayerShape model =
            LayerShape.of(1, hiddenSize, ffnHiddenSize, activation, 0.02).withBias(false);
        return List.of(new BenchShape("", tokens, model, moe));
      }
      boolean smaller = small || device.equals("cpu");
      List<String> names = shape.isEmpty() ? List.of(SWEPT) : shape;
      return names.stream()
          .map(BenchShape::named)
          .map(layer -> smaller ? layer.small() : layer)
          .toList();
    }

    /** The same layer with each number of experts of the sweep. */
    List<BenchShape> sweep(MoeConfig moe) {
      BenchShape layer = shapes(moe).get(0);
      return counts(sweepExperts).stream().map(layer::withExperts).toList();
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
    return "time an MoE layer beside a naive loop, grouped products and a dense layer";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, MoeConfig.class);
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    MoeConfig moe = parsed.get(MoeConfig.class);
    Options options = parsed.get(Options.class);
    boolean sweeps = !options.sweepExperts().isEmpty();
    if (options.named(moe)) {
      for (String flag : SIZES) {
        if (parsed.isTyped(flag)) {
          throw new IllegalArgumentException(
              options.shape().isEmpty()
                  ? "--%s needs --num-experts: without it --sweep-experts times a layer of its own"
                      .formatted(flag)
                  : "--%s and --shape exclude each other: a shape has its sizes".formatted(flag));
        }
      }
    } else if (!moe.enabled()) {
      throw new IllegalArgumentException(
          "--num-experts or --shape is required: without experts there is no MoE layer to time");
    } else if (options.small()) {
      throw new IllegalArgumentException("--small needs --shape: typed sizes are what they are");
    }
    if (!sweeps && parsed.isTyped("output-dir")) {
      throw new IllegalArgumentException("--output-dir needs --sweep-experts");
    }
    if (sweeps && options.shape().size() > 1) {
      throw new IllegalArgumentException(
          "--sweep-experts takes one --shape, not %d".formatted(options.shape().size()));
    }
    List<BenchShape> shapes = sweeps ? options.sweep(moe) : options.shapes(moe);
    shapes.forEach(BenchShape::check);
    refuseWithoutEffect(moe);
    if (sweeps) {
      refuseGate(moe);
    }
  }

  /** One layer on one device has no other layers, and no other ranks to send rows to. */
  private static void refuseWithoutEffect(MoeConfig moe) {
    MoeConfig usual = MoeConfig.builder().build();
    Map<String, Function<MoeConfig, Object>> flags = new LinkedHashMap<>();
    flags.put("moe-layer-freq", MoeConfig::moeLayerFreq);
    flags.put("moe-token-dispatcher-type", MoeConfig::moeTokenDispatcherType);
    flags.put("moe-a2a-overlap-degree", MoeConfig::moeA2aOverlapDegree);
    flags.forEach(
        (flag, value) -> {
          if (!value.apply(moe).equals(value.apply(usual))) {
            throw new IllegalArgumentException(
                "--%s %s has no effect on one layer in one process: leave it out"
                    .formatted(flag, value.apply(moe)));
          }
        });
  }

  /** A sweep's routes are drawn, so that none depends on the number of experts by its gate. */
  private static void refuseGate(MoeConfig moe) {
    Map<String, Object> asked = Flags.differing(moe);
    asked.keySet().removeAll(WITHOUT_GATE);
    asked.forEach(
        (argument, value) -> {
          List<String> words = new ArrayList<>();
          Flags.words(argument, value, words);
          throw new IllegalArgumentException(
              "%s has no effect beside --sweep-experts, which times layers whose routing is given: leave it out"
                  .formatted(String.join(" ", words)));
        });
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    MoeConfig moe = parsed.get(MoeConfig.class);
    TrainingConfig training = options.training();
    ScalarType dtype = training.bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    if (training.numThreads() != null) {
      NativeLibraries.setThreads(training.numThreads());
    }
    try (ComputeDevice device = ComputeDevice.open(training)) {
      boolean cuda = device.device().is_cuda();
      System.out.printf(
          "%s, %s, commit %s%n",
          cuda ? Cuda.name() : "CPU, %d threads".formatted(NativeLibraries.threads()),
          training.bf16() ? "bf16" : "fp32",
          BuildInfo.commit());
      Ceilings ceilings = Ceilings.measure(dtype, device.device());
      System.out.println(ceilings);
      LayerBench.Setting setting =
          new LayerBench.Setting(
              device.device(),
              dtype,
              options.cudaGraph().equals("on"),
              new WorkTimer(device.device(), options.warmupRounds(), options.rounds(), 1, cuda),
              ceilings);
      if (!options.sweepExperts().isEmpty()) {
        return sweep(options, moe, setting);
      }
      boolean sound = true;
      for (BenchShape shape : options.shapes(moe)) {
        sound &= LayerTable.print(shape, setting);
      }
      return sound ? 0 : 1;
    }
  }

  private static int sweep(Options options, MoeConfig moe, LayerBench.Setting setting)
      throws IOException {
    Path directory = Path.of(options.outputDir());
    Path picture = directory.resolve("experts.png");
    // Told before minutes of timing, not after them.
    Files.createDirectories(directory);
    Files.delete(Files.createTempFile(directory, "experts", ".tmp"));
    if (Files.isDirectory(picture)) {
      throw new IOException(
          "%s is a directory, and the picture is to be a file of that name: give another --output-dir"
              .formatted(picture));
    }
    BenchShape layer = options.shapes(moe).get(0);
    String title =
        "%d tokens, experts of %d-%d-%d, %d a token"
            .formatted(
                layer.tokens(),
                layer.model().hiddenSize(),
                layer.expertHiddenSize(),
                layer.model().hiddenSize(),
                layer.moe().moeRouterTopk());
    System.out.println(title + layer.swept());
    ExpertSweep sweep = new ExpertSweep(layer, setting);
    System.out.println(sweep.header());
    for (int experts : Options.counts(options.sweepExperts())) {
      System.out.println(sweep.add(experts));
    }
    System.out.println(sweep.headline());
    SpeedPicture.write(
        picture,
        title,
        sweep.lines().stream()
            .map(l -> new SpeedPicture.Line(l.name(), l.backward(), l.experts(), l.millis()))
            .toList());
    System.out.println(picture);
    return 0;
  }
}
