package moe4j.examples.library;

import moe4j.moe.MoeLayer;
import moe4j.moe.MoeLayerBuilder;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.OptimizerConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.transformer.FeedForward;
import moe4j.transformer.Linear;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A classifier with experts in its middle: linear, experts beside a residual, linear. */
public final class OwnModel {
  private static final long SEED = 1;

  // [layer]
  /** The size of the hidden state, h. */
  public static final int HIDDEN = 32;

  private final Linear in;
  private final FeedForward experts;
  private final Linear out;

  /** A model with eight experts, of which a row takes two. */
  public OwnModel(int features, int classes, ParameterScope parameters) {
    this(features, classes, MoeLayer.builder(HIDDEN, 8).topk(2).initMethodStd(0.1), parameters);
  }

  /** A model with any experts. */
  public OwnModel(int features, int classes, MoeLayerBuilder experts, ParameterScope parameters) {
    this.in = new Linear(parameters.child("in"), features, HIDDEN, 0.1, true);
    this.experts = experts.build(parameters.child("moe"));
    this.out = new Linear(parameters.child("out"), HIDDEN, classes, 0.1, true);
  }

  /** Logits, [T, classes], of rows, [T, features]. */
  public Tensor forward(Tensor x, Pass pass) {
    Tensor hidden = in.forward(x);
    return out.forward(hidden.add(experts.forward(hidden, pass)));
  }

  // [/layer]

  // [train]
  /** The cross entropy in nats, a scalar; labels are int64 [T]. */
  public Tensor loss(Tensor x, Tensor labels, Pass pass) {
    return torch.cross_entropy_loss(forward(x, pass), labels);
  }

  /** Trains on all rows in each step. */
  public void train(ParameterSet parameters, Tensor x, Tensor labels, int steps) {
    OptimizerConfig config = OptimizerConfig.builder().lr(0.01).build();
    try (AdamW optimizer = new AdamW(parameters, config, 1)) {
      for (int step = 0; step < steps; step++) {
        StepRandom random = new StepRandom(SEED, step, 0, x.size(0));
        Scopes.run(
            () -> {
              Pass pass = Pass.training(random);
              pass.total(loss(x, labels, pass)).backward();
              optimizer.accumulate();
              optimizer.step();
            });
      }
    }
  }

  // [/train]
}
