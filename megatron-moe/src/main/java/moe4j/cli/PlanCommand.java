package moe4j.cli;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.cost.Costs;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.plan.Choices;
import moe4j.plan.Cluster;
import moe4j.plan.Gpu;
import moe4j.plan.PlannedModel;
import moe4j.plan.Planner;
import moe4j.plan.Planner.Candidate;
import moe4j.plan.StateBytes;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j plan}: memory and time of the layouts of a model on a cluster, on paper.
 *
 * <pre>
 * moe4j plan --num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 \
 *   --vocab-size 50257 --num-experts 96 --fmoefy --bf16 --world-size 8 --global-batch-size 256
 * moe4j plan --model txl --preset enwik8-base-moe64 --vocab-size 204 --world-size 2
 * </pre>
 */
public final class PlanCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(PlanCommand.class);
  private static final String GPT = "gpt";

  /** The flag of a step's samples; a family may call it otherwise. */
  private static final String BATCH = "--global-batch-size";

  /** What is tried where no micro-batch is named. */
  private static final List<Integer> MICRO_BATCHES = List.of(1, 2, 4, 8, 16, 32, 64);

  private final ModelFamily family;

  /** The command for a GPT, where {@code --model} does not say otherwise. */
  public PlanCommand() {
    this(ModelFamilies.named(GPT));
  }

  private PlanCommand(ModelFamily family) {
    this.family = family;
  }

  /** The flag that names the kind of model. */
  public record ModelFlag(
      @Flag(
              help =
                  "kind of model, which its flags depend on: gpt, txl, or one of your own; --model"
                      + " NAME --help lists them",
              value = GPT)
          String model) {}

  /** Its flags beside those of the model. */
  public record Options(
      @Flag(help = "GPUs in all", required = true) int worldSize,
      @Flag(help = "GPUs of a node", value = "8") int gpusPerNode,
      @Flag(
              help = "kind of GPU",
              value = "h200",
              choices = {"h200", "h100", "a100", "b200"})
          String gpu,
      @Flag(help = "memory of a GPU, GiB", otherwise = "what CUDA reports for that kind")
          Double gpuMemoryGib,
      @Flag(
              help = "GB/s that a GPU sends within its node, one way",
              otherwise = "44% of NVLink's by its data sheet, as measured between two H200s")
          Double intraNodeGbs,
      @Flag(
              help = "GB/s that a GPU sends to other nodes, one way",
              otherwise = "80% of an adapter each of 400 Gbit/s, a100 of 200")
          Double interNodeGbs,
      @Flag(help = "microseconds from one rank to the next", value = "5") double linkLatencyUs,
      @Flag(
              help = "sequences a micro-batch, several to try",
              otherwise = "1 2 4 8 16 32 64; of a model with a memory all of a rank's")
          List<Integer> microBatchSize,
      @Flag(help = "sequences a step, or columns", required = true) int globalBatchSize,
      @Flag(help = "tokens of the vocabulary, before padding", required = true) int vocabSize,
      @Flag(help = "bf16 parameters with fp32 masters") boolean bf16,
      @Flag(help = "the only tensor parallel size to try", otherwise = "all that divide the world")
          Integer tensorModelParallelSize,
      @Flag(help = "the only expert parallel size to try", otherwise = "all that divide the world")
          Integer expertModelParallelSize,
      @Flag(
              help = "the only tensor parallel size of each expert to try",
              otherwise = "1 and the tensor parallel size")
          Integer expertTensorParallelSize,
      @Flag(help = "tensor parallelism without sequence parallelism") boolean noSequenceParallel,
      @Flag(help = "reduce gradients while the backward goes on") boolean overlapGradReduce,
      @Flag(
              help = "rows of the fullest expert rank over the mean, where nothing is dropped",
              value = "1.1")
          double loadImbalance,
      @Flag(help = "layouts to print", value = "10") int top) {

    /** Checks what the planner does not see. */
    public Options {
      Ranges.positive("top", top);
      Ranges.positive("vocab-size", vocabSize);
    }

    Cluster cluster() {
      Gpu kind = Gpu.named(gpu);
      return new Cluster(
          gpuMemoryGib == null ? kind : kind.withMemory(gpuMemoryGib * Gpu.GIB),
          worldSize,
          gpusPerNode,
          intraNodeGbs == null ? kind.intraNode() : intraNodeGbs * 1e9,
          interNodeGbs == null ? kind.interNode() : interNodeGbs * 1e9,
          linkLatencyUs * 1e-6);
    }

    /** Where something is carried from a step to the next, a rank has one micro-batch a step. */
    Planner.Space space(Costs.Limits limits) {
      List<Integer> usual = limits.carries() ? List.of() : MICRO_BATCHES;
      return new Planner.Space(
          globalBatchSize,
          microBatchSize.isEmpty() ? usual : microBatchSize,
          !noSequenceParallel,
          tensorModelParallelSize,
          expertModelParallelSize,
          expertTensorParallelSize);
    }
  }

  /** What the optimizer keeps, by the flags of a run. */
  public record StateOptions(
      @Flag(help = "take the types of gradients' sums and moments from the flags below")
          boolean usePrecisionAwareOptimizer,
      @Flag(
              help = "type of the sums of gradients",
              value = "fp32",
              choices = {"fp32", "bf16"},
              needs = "use-precision-aware-optimizer")
          String mainGradsDtype,
      @Flag(
              help = "type of the masters of bf16 parameters",
              value = "fp32",
              choices = {"fp32", "fp16"},
              needs = "use-precision-aware-optimizer")
          String mainParamsDtype,
      @Flag(
              help = "how first moments are kept",
              value = "fp32",
              choices = {"fp32", "fp16", "bf16", "fp8"},
              needs = "use-precision-aware-optimizer")
          String expAvgDtype,
      @Flag(
              help = "how second moments are kept",
              value = "fp32",
              choices = {"fp32", "fp16", "bf16", "fp8"},
              needs = "use-precision-aware-optimizer")
          String expAvgSqDtype,
      @Flag(
              help = "how masters of bf16 parameters are kept",
              otherwise = "remainder",
              choices = {"whole", "remainder"})
          String masterStorage) {

    /** Refuses what a run refuses, in its words. */
    void check(boolean bf16) {
      OptimizerConfig.builder()
          .lr(0)
          .usePrecisionAwareOptimizer(usePrecisionAwareOptimizer)
          .mainGradsDtype(mainGradsDtype)
          .mainParamsDtype(mainParamsDtype)
          .expAvgDtype(expAvgDtype)
          .expAvgSqDtype(expAvgSqDtype)
          .masterStorage(masterStorage)
          .build()
          .checkTypes(bf16, false);
    }

    StateBytes bytes() {
      return StateBytes.of(mainGradsDtype, expAvgDtype, expAvgSqDtype, masterStorage);
    }
  }

  @Override
  public String name() {
    return "plan";
  }

  @Override
  public String summary() {
    return "estimate memory and time of a model's layouts on a cluster, the fastest first";
  }

  @Override
  public Command of(String[] args) throws IOException {
    String model = CommandLines.valueOf("--model", flags(), args);
    return model == null ? this : new PlanCommand(ModelFamilies.named(model));
  }

  @Override
  public Flags flags() {
    List<Class<? extends Record>> flags = new ArrayList<>(List.of(ModelFlag.class));
    flags.addAll(family.presetFlags());
    flags.addAll(List.of(Options.class, StateOptions.class, family.modelFlags(), MoeConfig.class));
    return Flags.of(flags);
  }

  /** A preset stands for a whole run's flags: those of data and training say nothing here. */
  @Override
  public String[] expand(String[] args) {
    String[] line = family.expand(args, LOG::info);
    int typed = line.length - args.length;
    List<String> words = new ArrayList<>();
    boolean known = true;
    for (String word : Arrays.asList(line).subList(0, typed)) {
      String here = word.equals(family.words().batch()) ? BATCH : word;
      known = here.startsWith("--") ? flags().names().contains(here.substring(2)) : known;
      if (known) {
        words.add(here);
      }
    }
    words.addAll(Arrays.asList(line).subList(typed, line.length));
    return words.toArray(new String[0]);
  }

  @Override
  public void check(Flags.Parsed parsed, int processes) {
    parsed.get(StateOptions.class).check(parsed.get(Options.class).bf16());
  }

  @Override
  public int run(Flags.Parsed parsed) {
    parsed.withoutPositional();
    Options options = parsed.get(Options.class);
    ModelSpec spec =
        new ModelSpec(family, parsed.get(family.modelFlags()), parsed.get(MoeConfig.class));
    family.check(spec);
    Costs costs = spec.costs(spec.paddedVocabulary(options.vocabSize()));
    PlannedModel model = new PlannedModel(costs, options.bf16());
    Cluster cluster = options.cluster();
    StateOptions state = parsed.get(StateOptions.class);
    Choices choices =
        new Choices(options.overlapGradReduce(), options.loadImbalance(), state.bytes());
    Planner.Plan plan = new Planner(model, cluster, choices).plan(options.space(costs.limits()));
    if (plan.fitting().isEmpty()) {
      throw new IllegalArgumentException(nothing(plan, cluster));
    }
    PlanTable table = new PlanTable(model, cluster);
    System.out.println(table.head());
    for (int i = 0; i < Math.min(options.top(), plan.fitting().size()); i++) {
      System.out.println(String.format("%4d", i + 1) + table.row(plan.fitting().get(i)));
    }
    System.out.println(rest(plan, cluster, options.top()));
    System.out.println(next(plan.fitting().get(0), spec, state, model, choices));
    return 0;
  }

  private static String nothing(Planner.Plan plan, Cluster cluster) {
    if (plan.tooLarge().isEmpty()) {
      Planner.Reason reason = plan.commonest();
      return reason == null
          ? "there is no layout to try"
          : "no layout is possible of the %d tried, %d for this reason: %s"
              .formatted(plan.impossible(), reason.layouts(), reason.sentence());
    }
    Candidate smallest = plan.tooLarge().get(0);
    double needed = smallest.memory().total();
    return String.format(
        Locale.ROOT,
        "none of %d possible layouts fits: the smallest (TP %d, EP %d, ETP %d, micro-batch %d) needs"
            + " %.1f GiB, %.1f more than the %.1f of a GPU that may be filled",
        plan.tooLarge().size(),
        smallest.layout().tp(),
        smallest.layout().ep(),
        smallest.layout().etp(),
        smallest.layout().microBatch(),
        needed / Gpu.GIB,
        (needed - cluster.usable()) / Gpu.GIB,
        cluster.usable() / Gpu.GIB);
  }

  private static String rest(Planner.Plan plan, Cluster cluster, int top) {
    List<String> parts = new ArrayList<>();
    int more = plan.fitting().size() - top;
    if (more > 0) {
      parts.add("%d more layouts fit".formatted(more));
    }
    parts.add(
        String.format(
            Locale.ROOT,
            "%d do not fit into %.1f GiB",
            plan.tooLarge().size(),
            cluster.usable() / Gpu.GIB));
    String impossible = "%d cannot be".formatted(plan.impossible());
    if (plan.commonest() != null) {
      impossible +=
          ", %d of them for this reason: %s"
              .formatted(plan.commonest().layouts(), plan.commonest().sentence());
    }
    parts.add(impossible);
    return String.join("; ", parts);
  }

  private static String next(
      Candidate best, ModelSpec spec, StateOptions state, PlannedModel model, Choices choices) {
    List<String> line = new ArrayList<>(Flags.shortCommandLine(spec.flags()));
    line.addAll(Flags.shortCommandLine(spec.moe()));
    line.addAll(Flags.shortCommandLine(state));
    if (model.bf16()) {
      line.add("--bf16");
    }
    boolean overlap = choices.overlapGradReduce();
    String batch = spec.family().words().batch();
    if (batch.equals(BATCH)) {
      line.addAll(best.layout().flags(model.hasExperts(), overlap));
    } else {
      line.addAll(best.layout().ranks(model.hasExperts(), overlap));
      line.addAll(List.of(batch, String.valueOf(best.layout().globalBatch())));
    }
    return "the first as flags, before those for data and learning rate:\n"
        + CommandLines.typed(line);
  }
}
