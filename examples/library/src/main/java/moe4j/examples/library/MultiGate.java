package moe4j.examples.library;

import java.util.ArrayList;
import java.util.List;
import moe4j.moe.MoeLayer;
import moe4j.moe.experts.Experts;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.NaiveGate;
import moe4j.moe.gate.Routing;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.OptimizerConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.transformer.Activation;
import moe4j.transformer.Linear;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Multi-gate mixture of experts (Ma et al., KDD 2018): several tasks share a set of experts, each
 * weights all of them by a gate of its own and ends in a tower of its own.
 */
public final class MultiGate {
  // [shared]
  private final List<Gate> gates = new ArrayList<>();
  private final List<MoeLayer> mixtures = new ArrayList<>();
  private final List<Tower> towers = new ArrayList<>();

  /** A model of rows, [T, h], for so many tasks. */
  public MultiGate(int h, int experts, int tasks, ParameterScope parameters) {
    GroupedMlp.Shape mlp = new GroupedMlp.Shape(experts, h, 16, Activation.RELU, true, 0.3, 0.3);
    Experts shared = new GroupedMlp(mlp, parameters.child("experts"));
    for (int task = 0; task < tasks; task++) {
      ParameterScope own = parameters.child("tasks." + task);
      mixtures.add(
          MoeLayer.builder(h, experts)
              .layer(task)
              .topk(experts)
              .gate((shape, scope) -> kept(new NaiveGate(shape, scope)))
              .experts(scope -> shared)
              .build(own));
      towers.add(new Tower(h, own.child("tower")));
    }
  }

  /** A task's prediction of each row, [T]. */
  public Tensor forward(int task, Tensor x, Pass pass) {
    return towers.get(task).forward(mixtures.get(task).forward(x, pass));
  }

  // [/shared]

  private Gate kept(Gate gate) {
    gates.add(gate);
    return gate;
  }

  /** What a task's gate gives each expert for each row, [T, E]. */
  public Tensor weights(int task, Tensor x) {
    Routing routing = gates.get(task).route(x, Pass.evaluation());
    // All experts are chosen: an expert has as many rows as there are, in their order.
    return routing.weight().view(-1, x.size(0)).t();
  }

  /** From a task's mixture to its prediction. */
  private static final class Tower {
    private final Linear in;
    private final Linear out;

    Tower(int h, ParameterScope parameters) {
      this.in = new Linear(parameters.child("in"), h, 8, 0.3, true);
      this.out = new Linear(parameters.child("out"), 8, 1, 0.3, true);
    }

    Tensor forward(Tensor x) {
      return out.forward(torch.relu(in.forward(x))).squeeze(1);
    }
  }

  /** A task's mean squared error, a scalar. */
  public Tensor loss(int task, Tensor x, Tensor y, Pass pass) {
    return torch.mse_loss(forward(task, x, pass), y);
  }

  // [train]
  /**
   * Trains all tasks together, their losses added up.
   *
   * @param data drawn anew for each step
   */
  public void train(ParameterSet parameters, TwoTasks data, int rows, int steps) {
    OptimizerConfig config = OptimizerConfig.builder().lr(0.01).weightDecay(0).build();
    try (AdamW optimizer = new AdamW(parameters, config, 1)) {
      for (int i = 0; i < steps; i++) {
        long step = i;
        optimizer.setLearningRate(config.lr() * (1 - step / (double) steps));
        Scopes.run(
            () -> {
              TwoTasks.Rows batch = data.draw(rows);
              Pass pass = Pass.training(new StepRandom(1, step, 0, rows));
              Tensor first = loss(0, batch.x(), batch.y1(), pass);
              Tensor second = loss(1, batch.x(), batch.y2(), pass);
              pass.total(first.add(second)).backward();
              optimizer.accumulate();
              optimizer.step();
            });
      }
    }
  }
  // [/train]
}
