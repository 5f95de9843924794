package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.Scopes;
import moe4j.kernels.TensorLists;
import moe4j.kernels.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * AdamW over a model's parameters, with fp32 masters where the model is bf16, fp32 accumulation of
 * gradients, and clipping by the global norm. Nothing here asks the device: learning rate, step
 * counter, clip factor and found-inf are scalars on it. A step whose gradients are not finite
 * leaves parameters, moments and step counter as they were.
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
  private final boolean masters;
  private final List<State> states = new ArrayList<>();
  private final List<Tensor> owned = new ArrayList<>();
  private final List<Tensor> mains = new ArrayList<>();
  private final List<Integer> decayed = new ArrayList<>();
  private final List<Integer> undecayed = new ArrayList<>();
  private final Tensor learningRate;
  private final Tensor step;
  private final Tensor norm;
  private final Tensor foundInf;
  private final Tensor zeros;
  private boolean countZeros;

  /** The optimizer of a model, its moments zero and its masters equal to the parameters. */
  public AdamW(ParameterSet parameters, OptimizerConfig config) {
    this.config = config;
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
    this.learningRate = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.step = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.norm = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.foundInf = own(() -> Tensors.zeros(ScalarType.Float, device));
    this.zeros = own(() -> Tensors.zeros(ScalarType.Double, device));
  }

  private Tensor own(java.util.function.Supplier<Tensor> made) {
    Tensor tensor = Scopes.keep(made);
    owned.add(tensor);
    return tensor;
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

  /** Sets the rate of the next step. */
  public void setLearningRate(double rate) {
    Scopes.run(() -> learningRate.fill_(new Scalar(rate)));
  }

  /**
   * Takes a micro-batch's gradients over, after its backward. An fp32 model's add up where they
   * are; a bf16 model's are added to fp32 sums, so that many small ones are not lost.
   */
  public void accumulate() {
    if (!masters) {
      return;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      boolean first = mains.isEmpty();
      List<Tensor> sums = new ArrayList<>();
      List<Tensor> gradients = new ArrayList<>();
      for (int i = 0; i < states.size(); i++) {
        Tensor parameter = states.get(i).parameter().tensor();
        Tensor gradient = parameter.grad();
        boolean defined = gradient.defined();
        if (first) {
          Tensor shape = states.get(i).master();
          mains.add(
              Scopes.keep(() -> defined ? gradient.to(ScalarType.Float) : torch.zeros_like(shape)));
        } else if (defined) {
          sums.add(mains.get(i));
          gradients.add(gradient);
        }
      }
      if (!sums.isEmpty()) {
        TensorLists.add(sums, gradients);
      }
      // Only now: grad() is a view of what reset() empties.
      states.forEach(s -> s.parameter().tensor().mutable_grad().reset());
    }
  }

  /** The fp32 gradients of the step so far, in the parameters' order. */
  public List<Tensor> gradients() {
    if (masters) {
      return mains;
    }
    List<Tensor> gradients = new ArrayList<>();
    for (State state : states) {
      Tensor gradient = state.parameter().tensor().grad();
      gradients.add(gradient.defined() ? gradient : torch.zeros_like(state.master()));
    }
    return gradients;
  }

  /** Clips, updates and forgets the gradients. */
  public void step() {
    try (NoGradGuard guard = new NoGradGuard()) {
      Scopes.run(this::update);
      zeroGradients();
    }
  }

  private void update() {
    List<Tensor> gradients = gradients();
    norm.copy_(TensorLists.norm(gradients));
    if (countZeros) {
      zeros.zero_();
      gradients.forEach(g -> zeros.add_(g.eq(new Scalar(0)).sum()));
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
    update(gradients, decayed, config.weightDecay(), scale);
    update(gradients, undecayed, 0.0, scale);
    if (masters) {
      TensorLists.copy(
          states.stream().map(s -> s.parameter().tensor()).toList(),
          states.stream().map(State::master).toList());
    }
  }

  private void update(
      List<Tensor> gradients, List<Integer> group, double weightDecay, Tensor scale) {
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

  private void zeroGradients() {
    mains.forEach(Tensor::close);
    mains.clear();
    Scopes.run(() -> states.forEach(s -> s.parameter().tensor().mutable_grad().reset()));
  }

  @Override
  public void close() {
    zeroGradients();
    owned.forEach(Tensor::close);
  }
}
