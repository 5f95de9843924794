package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.dropout.Draw;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.FeedForward;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Times a feed-forward block by itself, in the way that a training step would run it: its forward
 * without gradients, and its forward with the backward to the input and to all weights.
 */
public final class BlockBench implements AutoCloseable {
  private static final int SEED = 1234;

  private final boolean graphs;
  private final int warmup;
  private final int rounds;
  private final Device device;
  private final ScalarType dtype;
  private final Tensor hidden;
  private final Tensor gradient;

  /**
   * Blocks that take random hidden states.
   *
   * @param device where they compute
   * @param dtype of hidden states and weights
   * @param tokens T
   * @param hiddenSize h
   * @param graphs whether a round is captured as a CUDA graph, on a GPU
   * @param warmup first rounds that do not count
   * @param rounds those that do
   */
  public BlockBench(
      Device device,
      ScalarType dtype,
      long tokens,
      long hiddenSize,
      boolean graphs,
      int warmup,
      int rounds) {
    this.device = device;
    this.dtype = dtype;
    this.graphs = graphs && device.is_cuda();
    this.warmup = warmup;
    this.rounds = rounds;
    StepRandom random = new StepRandom(SEED, 0, 0, 1);
    Tensor shape =
        Scopes.keep(() -> Tensors.empty(ScalarType.Float, device, 1, tokens, hiddenSize));
    this.hidden =
        Scopes.keep(() -> Draw.normal(random, shape, 0, 0).to(dtype).detach().requires_grad_(true));
    this.gradient = Scopes.keep(() -> Draw.normal(random, shape, 0, 1).to(dtype));
    shape.close();
  }

  /**
   * What one of the two came to.
   *
   * @param name what was timed
   * @param seconds of each round, ascending
   * @param flops floating-point operations of a round
   */
  public record Times(String name, List<Double> seconds, double flops) {
    /** Sorts the rounds. */
    public Times {
      seconds = seconds.stream().sorted().toList();
    }

    /** Seconds of a round in the middle. */
    public double median() {
      int n = seconds.size();
      return (seconds.get((n - 1) / 2) + seconds.get(n / 2)) / 2;
    }

    @Override
    public String toString() {
      return String.format(
          Locale.ROOT,
          "%s: median %.3f ms, %.3f to %.3f over %d rounds | %.3f TFLOP/s",
          name,
          median() * 1e3,
          seconds.get(0) * 1e3,
          seconds.get(seconds.size() - 1) * 1e3,
          seconds.size(),
          flops / median() / 1e12);
    }
  }

  /**
   * Times a block.
   *
   * @param name what it is called
   * @param made makes it below a scope
   * @param flops floating-point operations of its forward; a backward is taken for two of them
   * @return its forward, and its forward with its backward
   */
  public List<Times> run(String name, Function<ParameterScope, FeedForward> made, double flops) {
    try (ParameterSet parameters = new ParameterSet(SEED, dtype, device);
        RepeatedWork work = graphs ? RepeatedWork.captured(sentence -> {}) : RepeatedWork.eager()) {
      FeedForward block = made.apply(parameters.root());
      Runnable forward = () -> Scopes.run(() -> forward(block));
      Runnable both = () -> Scopes.run(() -> both(block, parameters));
      Runnable undo =
          () -> {
            CustomFunction.settle();
            Scopes.run(() -> reset(parameters));
          };
      return List.of(
          time(name + " forward", work.piece("forward", forward, undo), flops),
          time(name + " forward and backward", work.piece("backward", both, undo), 3 * flops));
    }
  }

  private void forward(FeedForward block) {
    try (NoGradGuard guard = new NoGradGuard()) {
      block.forward(hidden, Pass.evaluation());
    }
  }

  private void both(FeedForward block, ParameterSet parameters) {
    Pass pass = Pass.training(new StepRandom(SEED, 0, 0, 1));
    Tensor loss = block.forward(hidden, pass).mul(gradient).sum();
    pass.total(loss).backward();
    CustomFunction.settle();
    reset(parameters);
  }

  /** Lets go of the gradients, so that none is added to the last round's. */
  private void reset(ParameterSet parameters) {
    parameters.all().forEach(parameter -> parameter.tensor().mutable_grad().reset());
    hidden.mutable_grad().reset();
  }

  private Times time(String name, RepeatedWork.Piece piece, double flops) {
    List<Double> seconds = new ArrayList<>();
    for (int round = 0; round < warmup + rounds; round++) {
      synchronize();
      long begin = System.nanoTime();
      piece.run();
      synchronize();
      if (round >= warmup) {
        seconds.add((System.nanoTime() - begin) * 1e-9);
      }
    }
    return new Times(name, seconds, flops);
  }

  private void synchronize() {
    if (device.is_cuda()) {
      Cuda.synchronize();
    }
  }

  @Override
  public void close() {
    hidden.close();
    gradient.close();
  }
}
