package moe4j.examples.library;

import java.util.List;
import moe4j.kernels.norm.AddNorm;
import moe4j.moe.MoeLayer;
import moe4j.moe.MoeLayerBuilder;
import moe4j.moe.experts.Expert;
import moe4j.moe.gate.Capacity;
import moe4j.moe.gate.RouterConfig;
import moe4j.moe.gate.TopKRouter;
import moe4j.transformer.Linear;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

// [expert]
/** A gated linear unit with a norm of its own: {@code out (silu(gate n) value n), n = norm(x)}. */
public final class OwnExpert implements Expert {
  private static final double EPSILON = 1e-6;

  private final Tensor norm;
  private final Linear gate;
  private final Linear value;
  private final Linear out;

  /** An expert from h to h, with f channels between. */
  public OwnExpert(long h, long f, double std, ParameterScope parameters) {
    this.norm = parameters.gain("norm.weight", h);
    this.gate = new Linear(parameters.child("gate"), h, f, std, false);
    this.value = new Linear(parameters.child("value"), h, f, std, false);
    this.out = new Linear(parameters.child("out"), f, h, std, false);
  }

  @Override
  public List<Tensor> forward(List<Tensor> rows, Pass pass) {
    Tensor x = AddNorm.norm(rows.get(0), norm, null, EPSILON);
    return List.of(out.forward(torch.silu(gate.forward(x)).mul(value.forward(x))));
  }

  // [/expert]

  // [alike]
  /** A layer of such experts, made alike: each has a scope, and so initial weights, of its own. */
  public static MoeLayerBuilder alike(int h, int f, int experts) {
    return MoeLayer.builder(h, experts).experts((number, scope) -> new OwnExpert(h, f, 0.1, scope));
  }

  // [/alike]

  // [padded]
  /**
   * The same with as many rows for each expert, a quarter more than on average, so that the host
   * knows how many and a GPU's step can be captured. What does not fit is dropped.
   */
  public static MoeLayerBuilder padded(int h, int f, int experts) {
    RouterConfig router = RouterConfig.withAuxLoss(0.01);
    Capacity capacity = new Capacity(1.25, Capacity.Policy.PROBS, true);
    return alike(h, f, experts)
        .gate((shape, scope) -> new TopKRouter(shape, router, capacity, scope));
  }

  // [/padded]

  // [different]
  /**
   * A layer of four different experts: one of these, one of low rank, one that copies and one that
   * gives nothing (Jin et al. 2024), so that an easy token costs less.
   *
   * @param parameters takes the experts' parameters
   */
  public static MoeLayerBuilder different(int h, ParameterScope parameters) {
    Linear down = new Linear(parameters.child("down"), h, 4, 0.1, false);
    Linear up = new Linear(parameters.child("up"), 4, h, 0.1, false);
    return MoeLayer.builder(h, 4)
        .experts(
            List.of(
                new OwnExpert(h, 2L * h, 0.1, parameters.child("glu")),
                Expert.of(x -> up.forward(down.forward(x))),
                Expert.of(x -> x),
                Expert.of(x -> torch.zeros_like(x))));
  }
  // [/different]
}
