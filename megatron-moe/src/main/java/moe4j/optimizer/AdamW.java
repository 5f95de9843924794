package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.FusedAdamW;
import moe4j.kernels.Kernels;
import moe4j.kernels.Scopes;
import moe4j.kernels.TensorLists;
import moe4j.kernels.Tensors;
import moe4j.parallel.Groups;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * AdamW over a model's parameters, with fp32 masters where the model is bf16 and clipping by the
 * global norm. Nothing here asks the device: learning rate, step counter, clip factor and found-inf
 * are on it. A step whose gradients are not finite leaves parameters, moments and step counter as
 * they were.
 *
 * <p>On a GPU the update is a kernel of ours, {@link FusedAdamW}; elsewhere, and as its reference,
 * it is libtorch's operations over lists. There it reads the gradients as the backward left them;
 * fp32 sums are kept only where there is something to add up.
 */
public final class AdamW implements AutoCloseable {

  /**
   * What the optimizer holds for a parameter.
   *
   * @param parameter the model's
   * @param master fp32; the parameter itself where that is fp32
   * @param expAvg fp32, the first moment
   * @param expAvgSq fp32, the second moment
   */
  public record State(Parameter parameter, Tensor master, Tensor expAvg, Tensor expAvgSq) {

    /** Whether the master is a tensor of its own. */
    public boolean hasMaster() {
      return Tensors.dtype(parameter.tensor()) != ScalarType.Float;
    }
  }

  private final OptimizerConfig config;
  private final ParameterSet parameters;
  private final boolean masters;
  private final List<State> states = new ArrayList<>();
  private final List<Tensor> owned = new ArrayList<>();
  private final Gradients gradients;
  private final FusedAdamW fused;
  private final List<Integer> decayed = new ArrayList<>();
  private final List<Integer> undecayed = new ArrayList<>();
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
    this.config = config;
    this.parameters = parameters;
    this.masters = parameters.dtype() != ScalarType.Float;
    var device = parameters.device();
    for (Parameter p : parameters.all()) {
      (p.decay() ? decayed : undecayed).add(states.size());
      Tensor master = masters ? own(() -> p.tensor().detach().to(ScalarType.Float)) : p.tensor();
      states.add(
          new State(
              p,
              master,
              own(() -> Tensors.zeros(ScalarType.Float, device, p.tensor().shape())),
              own(() -> Tensors.zeros(ScalarType.Float, device, p.tensor().shape()))));
    }
    this.rates = own(() -> Tensors.zeros(ScalarType.Float, device, 2));
    this.step = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.norm = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.foundInf = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.zeros = own(() -> Tensors.zeros(ScalarType.Double, device));
    boolean gpu = device.is_cuda();
    this.fused =
        Kernels.take(foundInf)
            ? new FusedAdamW(
                slots(),
                config.adamBeta1(),
                config.adamBeta2(),
                config.adamEps(),
                config.clipGrad())
            : null;
    boolean summed = masters && (fused == null || microBatches > 1);
    this.gradients =
        new Gradients(
            states.stream().map(s -> s.parameter().tensor()).toList(),
            summed,
            gpu && (summed || microBatches > 1));
    setLearningRate(config.lr());
  }

  private List<FusedAdamW.Slot> slots() {
    return states.stream()
        .map(
            s ->
                new FusedAdamW.Slot(
                    s.parameter().tensor(),
                    s.master(),
                    s.expAvg(),
                    s.expAvgSq(),
                    s.parameter().decay() ? config.weightDecay() : 0))
        .toList();
  }

  private Tensor own(java.util.function.Supplier<Tensor> made) {
    Tensor tensor = Scopes.keep(made);
    owned.add(tensor);
    return tensor;
  }

  /** The ranks among which the model is divided. */
  public Groups groups() {
    return parameters.groups();
  }

  /** The state of each parameter, in the parameters' order. */
  public List<State> states() {
    return states;
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

  /** Has {@link #gradientZeros} counted, which reads all gradients once more. */
  public void countZeros() {
    countZeros = true;
  }

  /** Elements of the last step's gradients that are zero: fp64, a scalar. */
  public Tensor gradientZeros() {
    return zeros;
  }

  /** Sets the rate of the steps from now on; before, it is the configuration's. */
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

  /** Takes a micro-batch's gradients over, after its backward. */
  public void accumulate() {
    gradients.accumulate();
  }

  /** Lets go of what a backward has left that was captured and not computed. */
  public void abandonMicroBatch() {
    gradients.abandon();
  }

  /** The gradients of the step so far, in the parameters' order, zeros where there are none. */
  public List<Tensor> gradients() {
    return gradients.all();
  }

  /** Clips, updates and forgets the gradients. */
  public void step() {
    bindGradients();
    update();
    forgetGradients();
  }

  /** Before an update: has it look for the gradients where they are now. Not under capture. */
  public void bindGradients() {
    if (fused != null) {
      Scopes.run(() -> fused.bind(gradients.orNull(), gradients.kept()));
    }
  }

  /** Clips and updates, and ends the step for the parts of the model that wait for it. */
  public void update() {
    try (NoGradGuard guard = new NoGradGuard()) {
      Scopes.run(fused != null ? this::fusedUpdate : this::referenceUpdate);
      Scopes.run(() -> parameters.endStep(foundInf));
    }
  }

  /** Lets the gradients go; where a captured graph writes them, they stay its own. */
  public void forgetGradients() {
    gradients.forget();
  }

  private void fusedUpdate() {
    if (countZeros) {
      count(gradients.all());
    }
    fused.step(rates, step, norm, foundInf);
  }

  private void count(List<Tensor> all) {
    zeros.zero_();
    all.forEach(g -> zeros.add_(g.eq(new Scalar(0)).sum()));
  }

  private void referenceUpdate() {
    List<Tensor> all = gradients.all();
    Tensor learningRate =
        torch.where(foundInf.gt(new Scalar(0)), rates.select(0, 1), rates.select(0, 0));
    norm.copy_(TensorLists.norm(all));
    if (countZeros) {
      count(all);
    }
    foundInf.copy_(norm.isfinite().logical_not());
    step.add_(foundInf.neg().add_(new Scalar(1.0)));
    // Megatron's coefficient, clip / (norm + 1e-6) where that is below 1, as a divisor.
    Tensor scale =
        config.clipGrad() == 0
            ? torch.ones_like(norm)
            : norm.add(new Scalar(1e-6))
                .div(new Scalar(config.clipGrad()))
                .clamp_min(new Scalar(1.0));
    update(all, decayed, config.weightDecay(), learningRate, scale);
    update(all, undecayed, 0.0, learningRate, scale);
    if (masters) {
      TensorLists.copy(
          states.stream().map(s -> s.parameter().tensor()).toList(),
          states.stream().map(State::master).toList());
    }
    if (gradients.kept()) {
      all.forEach(Tensor::zero_);
    }
  }

  private void update(
      List<Tensor> gradients,
      List<Integer> group,
      double weightDecay,
      Tensor learningRate,
      Tensor scale) {
    if (group.isEmpty()) {
      return;
    }
    TensorLists.adamw(
        group.stream().map(i -> states.get(i).master()).toList(),
        group.stream().map(gradients::get).toList(),
        group.stream().map(i -> states.get(i).expAvg()).toList(),
        group.stream().map(i -> states.get(i).expAvgSq()).toList(),
        step,
        learningRate,
        config.adamBeta1(),
        config.adamBeta2(),
        weightDecay,
        config.adamEps(),
        scale,
        foundInf);
  }

  @Override
  public void close() {
    gradients.close();
    if (fused != null) {
      fused.close();
    }
    owned.forEach(Tensor::close);
  }
}
