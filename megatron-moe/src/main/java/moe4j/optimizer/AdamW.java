package moe4j.optimizer;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.optimizer.FusedAdamW;
import moe4j.kernels.optimizer.ReferenceAdamW;
import moe4j.kernels.product.WideWeights;
import moe4j.parallel.Groups;
import moe4j.parallel.ParallelConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * AdamW over a model's parameters, with fp32 masters where the model is bf16 and clipping by the
 * global norm. Nothing here asks the device: learning rate, step counter, clip factor and found-inf
 * are on it. A step whose gradients are not finite leaves parameters, moments and step counter as
 * they were.
 *
 * <p>On a GPU the update is a kernel of ours, {@link FusedAdamW}; elsewhere, and as its reference,
 * it is libtorch's operations, {@link ReferenceAdamW}. The kernel reads the gradients as the
 * backward left them; fp32 sums are kept only where there is something to add up.
 *
 * <p>Where the model is divided among ranks, gradients are summed over those that share a parameter
 * ({@link Sharing}), and norm, clip factor and found-inf are the same bits on all ranks: all clip
 * and skip alike. With {@code --use-distributed-optimizer} a rank holds the state of segments of
 * its parameters only, and updates these.
 */
public final class AdamW implements AutoCloseable {

  private final OptimizerConfig config;
  private final StatePrecision precision;
  private final ParameterSet parameters;
  private final boolean masters;
  private final boolean distributed;
  private final List<OptimizerState> states = new ArrayList<>();
  private final List<Tensor> owned = new ArrayList<>();
  private final StepGradients gradients;

  /** Null where there is one rank: nothing is communicated then. */
  private final GradientReducer reducer;

  private final GlobalSums sums;
  private final FusedAdamW fused;
  private final ReferenceAdamW reference;

  /** The states in the order of the kernel's slots: those that this rank counts come first. */
  private final List<Integer> slotOrder;

  private final int countedSlots;
  private final Tensor rates;
  private final Tensor step;
  private final Tensor norm;
  private final Tensor foundInf;
  private final Tensor zeros;
  private boolean countZeros;

  /**
   * The optimizer of a model, its moments zero and its masters equal to the parameters.
   *
   * @param microBatches whose gradients a step adds up
   */
  public AdamW(ParameterSet parameters, OptimizerConfig config, int microBatches) {
    this(parameters, config, microBatches, ParallelConfig.single());
  }

  /**
   * The same of this rank's part of a model. It is made before anything else takes the parameters'
   * memory, as a distributed optimizer moves it.
   *
   * @param parallel how gradients and the optimizer's state are divided
   */
  public AdamW(
      ParameterSet parameters, OptimizerConfig config, int microBatches, ParallelConfig parallel) {
    this.config = config;
    this.parameters = parameters;
    this.masters = parameters.dtype() != ScalarType.Float;
    // Before anything is made that a refusal would leave behind.
    config.checkTypes(masters, false);
    var device = parameters.device();
    this.foundInf = own(() -> Tensors.zeros(ScalarType.Float, device));
    boolean kernels = Kernels.take(foundInf);
    this.precision = StatePrecision.of(config, masters, kernels);
    Groups groups = parameters.groups();
    this.reducer =
        groups.world().isAlone()
            ? null
            : new GradientReducer(parameters, parallel, precision.gradients());
    this.distributed = reducer != null && parallel.useDistributedOptimizer();
    if (reducer == null) {
      parameters.all().forEach(p -> add(p, 0, p.tensor().numel(), null));
    } else {
      reducer.segments().forEach(s -> add(s.parameter(), s.from(), s.to(), s.value()));
    }
    List<Boolean> counted =
        states.stream()
            .map(s -> Sharing.of(s.parameter(), groups).countsHere(distributed))
            .toList();
    this.sums = new GlobalSums(groups.world(), device, counted);
    this.slotOrder =
        IntStream.range(0, states.size())
            .boxed()
            .sorted(Comparator.comparing(i -> !counted.get(i)))
            .toList();
    this.countedSlots = (int) counted.stream().filter(c -> c).count();
    this.rates = own(() -> Tensors.zeros(ScalarType.Float, device, 2));
    this.step = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.norm = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.zeros = own(() -> Tensors.zeros(ScalarType.Double, device));
    // A rank may have nothing to update: its parts of small buckets may all be padding.
    boolean any = !states.isEmpty();
    this.fused = kernels && any ? fused() : null;
    this.reference = kernels && any ? null : reference();
    this.gradients = reducer != null ? reducer : ofOneRank(device.is_cuda(), microBatches);
    setLearningRate(config.lr());
  }

  private void add(Parameter p, long from, long to, Tensor value) {
    Tensor computed = value == null ? p.tensor() : value;
    double decay = p.decay() ? config.weightDecay() : 0;
    states.add(new OptimizerState(p, from, to, computed, precision, parameters.seed(), decay));
  }

  private List<FusedAdamW.Slot> slots() {
    return slotOrder.stream().map(i -> states.get(i).slot()).toList();
  }

  private FusedAdamW fused() {
    return new FusedAdamW(
        slots(), config.adamBeta1(), config.adamBeta2(), config.adamEps(), config.clipGrad());
  }

  private ReferenceAdamW reference() {
    return new ReferenceAdamW(
        slots(), config.adamBeta1(), config.adamBeta2(), config.adamEps(), config.clipGrad());
  }

  private Gradients ofOneRank(boolean gpu, int microBatches) {
    // The backward itself adds bf16 gradients up where they are to be summed in bf16.
    boolean summed = masters && !config.sumsInBf16() && (fused == null || microBatches > 1);
    return new Gradients(
        parameters.all().stream().map(Parameter::tensor).toList(),
        summed,
        gpu && (summed || microBatches > 1));
  }

  private Tensor own(Supplier<Tensor> made) {
    Tensor tensor = Scopes.keep(made);
    owned.add(tensor);
    return tensor;
  }

  /** The ranks among which the model is divided. */
  public Groups groups() {
    return parameters.groups();
  }

  /** The state of each parameter, or of this rank's segments, in the parameters' order. */
  public List<OptimizerState> states() {
    return states;
  }

  /** How masters and moments are kept, and how many bytes of them this rank has, for a log. */
  public String describe() {
    double bytes = states.stream().mapToDouble(OptimizerState::bytes).sum();
    return String.format(
        Locale.ROOT, "%s: %.2f MiB on this rank", precision.words(masters), bytes / 0x1p20);
  }

  /** Whether this rank has only parts of the state of its parameters, and others have the rest. */
  public boolean isDistributed() {
    return distributed;
  }

  /**
   * Gives all ranks the parameters that each of them updates, where they hold them all: after
   * masters were set, by which a parameter may round another way than where it was saved. All ranks
   * call it.
   */
  public void shareParameters() {
    if (distributed) {
      Scopes.run(reducer::gather);
      WideWeights.changed();
    }
  }

  /**
   * Whether the last of several micro-batches is another piece of work than those before it, as
   * gradients are summed over the ranks meanwhile. A captured graph of its own is needed then.
   */
  public boolean lastMicroBatchDiffers() {
    return reducer != null && reducer.overlaps();
  }

  /**
   * Whether a step's first micro-batch is another piece of work than those after it, for loops that
   * say which is which ({@link #beforeForward}): a captured graph of its own is needed then.
   */
  public boolean firstMicroBatchDiffers() {
    return gradients.firstDiffers();
  }

  /** The step counter: fp32, a scalar; skipped steps do not count. */
  public Tensor stepCounter() {
    return step;
  }

  /** The global norm of the last step's gradients, before clipping: fp32, a scalar. */
  public Tensor gradientNorm() {
    return norm;
  }

  /** 1 where the last step was skipped because its gradients were not finite, else 0: fp32. */
  public Tensor foundInf() {
    return foundInf;
  }

  /** Makes each step count {@link #gradientZeros}, for which it reads all gradients once more. */
  public void countZeros() {
    countZeros = true;
  }

  /** Elements of the last step's gradients that are zero: fp64, a scalar. */
  public Tensor gradientZeros() {
    return zeros;
  }

  /** Sets the rate of all steps from now on. At first it is the configuration's. */
  public void setLearningRate(double rate) {
    setLearningRates(rate, rate);
  }

  /**
   * Sets the rate of the next step where the host does not know yet how the last one ended.
   *
   * @param taken the rate if the last step was taken
   * @param skipped the rate if it was skipped
   */
  public void setLearningRates(double taken, double skipped) {
    Scopes.run(
        () -> {
          rates.select(0, 0).fill_(new Scalar(taken));
          rates.select(0, 1).fill_(new Scalar(skipped));
        });
  }

  /**
   * Is called before each micro-batch's forward, and in the same captured graph, or never. A first
   * micro-batch's gradients are stored and those of the others added, so that nothing has to be set
   * to zero, and products of ours add weights' gradients up themselves: these are not found at the
   * parameters after the backward, nor by hooks of theirs or {@code torch.grad}. What is asked for
   * before {@link #beforeBackward}, such as the gradient of an input, adds nothing.
   *
   * @param first whether it is the step's first
   */
  public void beforeForward(boolean first) {
    gradients.beforeForward(first);
  }

  /**
   * Is called before each micro-batch's backward, and in the same captured graph.
   *
   * @param last whether it is the step's last: gradients may be summed over the ranks meanwhile
   */
  public void beforeBackward(boolean last) {
    gradients.beforeBackward(last);
  }

  /** Takes a micro-batch's gradients over, after its backward. */
  public void accumulate() {
    gradients.accumulate();
  }

  /** Frees the gradients of a backward that was only captured, and not computed. */
  public void abandonMicroBatch() {
    gradients.abandon();
  }

  /**
   * This rank's gradients of the step so far, in the parameters' order, zeros for a parameter
   * without one.
   */
  public List<Tensor> gradients() {
    return reducer != null ? reducer.ofParameters() : gradients.all();
  }

  /**
   * The L2 norm of the masters of the whole model, which asks the device; all ranks call it and get
   * the same.
   */
  public double parametersNorm() {
    return sums.normOfMasters(states);
  }

  /**
   * The ranks whose own gradients were not finite in the last step that was skipped: what their
   * backward gave, before it was summed with what other ranks have. A NaN that was communicated in
   * the forward or the backward, between ranks that share a layer, is found on all of these; where
   * only a sum left fp32's range, no rank is named. It asks the device, and all ranks call it.
   */
  public List<Integer> nonFiniteRanks() {
    return reducer != null ? reducer.nonFiniteRanks() : List.of(0);
  }

  /** Clips, updates and forgets the gradients. */
  public void step() {
    bindGradients();
    update();
    forgetGradients();
  }

  /**
   * Tells the update where the gradients are now. Is called before each update, and not while a
   * graph is captured.
   */
  public void bindGradients() {
    if (fused != null) {
      Scopes.run(
          () -> {
            boolean zeroed = gradients.zeroedByUpdate();
            fused.bind(inSlots(gradients.orNull()), inSlots(gradients.squares()), zeroed);
          });
    }
  }

  /**
   * Sums the gradients over the ranks, clips and updates, and ends the step for the parts of the
   * model that wait for it.
   */
  public void update() {
    try (NoGradGuard guard = new NoGradGuard()) {
      gradients.reduce();
      Scopes.run(fused != null ? this::fusedUpdate : this::referenceUpdate);
      if (reducer != null) {
        Scopes.run(() -> reducer.endStep(foundInf));
      }
      // Other ranks' updates arrive in parameters' memory without libtorch's knowing.
      WideWeights.changed();
      Scopes.run(() -> parameters.endStep(foundInf));
    }
  }

  /** Frees the gradients, except those that belong to a captured graph, which writes them again. */
  public void forgetGradients() {
    gradients.forget();
  }

  private void fusedUpdate() {
    if (countZeros) {
      zeros.copy_(sums.zeros(gradients.all()));
    }
    if (reducer == null) {
      fused.step(rates, step, norm, foundInf);
    } else {
      Tensor squares = sums.overRanks(fused.squares(countedSlots));
      fused.step(squares.to(ScalarType.Float), rates, step, norm, foundInf);
    }
  }

  private void referenceUpdate() {
    List<Tensor> all = gradients.all();
    // Over ranks with the roundings of FusedAdamW.
    norm.copy_(
        reducer == null
            ? TensorLists.norm(all)
            : sums.squares(all).to(ScalarType.Float).to(ScalarType.Double).sqrt());
    if (countZeros) {
      zeros.copy_(sums.zeros(all));
    }
    reference.step(inSlots(all), rates, step, norm, foundInf);
    if (gradients.zeroedByUpdate()) {
      all.forEach(Tensor::zero_);
    }
  }

  private List<Tensor> inSlots(List<Tensor> inStates) {
    return slotOrder.stream().map(inStates::get).toList();
  }

  @Override
  public void close() {
    gradients.close();
    if (fused != null) {
      fused.close();
    }
    states.forEach(OptimizerState::close);
    owned.forEach(Tensor::close);
  }
}
