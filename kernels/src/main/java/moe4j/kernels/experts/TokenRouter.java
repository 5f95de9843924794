package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What a router makes of its logits: the routes of tokens that choose k experts each, sorted by
 * expert as {@link RouteSort} does, their weights, and the losses and figures of the choice. On a
 * GPU that is two launches, and one for the gradient.
 *
 * @param token int64 [T k], the token of each route
 * @param slot int64 [T, k], the place of each choice among the routes
 * @param offsets int32 [E], where each expert's routes end
 * @param counts int64 [E], how often each expert was chosen
 * @param weight [T k], of each route; it carries a gradient
 * @param losses or null where they are not asked for
 * @param source the tokens once more, for experts, where the gradient is added up with theirs: it
 *     may be handed only to a function that makes a gradient for it which nothing else holds, as
 *     {@link RoutedMlp} does. Null elsewhere.
 */
public record TokenRouter(
    Tensor token,
    Tensor slot,
    Tensor offsets,
    Tensor counts,
    Tensor weight,
    Losses losses,
    Source source) {
  /** The longest row that a warp holds, and its most choices. */
  private static final int MOST_EXPERTS = 512;

  private static final int MOST_CHOICES = 32;

  /**
   * Blocks among which tokens are divided: as many as large GPUs have multiprocessors, or a few
   * fewer. Each block of the second launch reads what all of the first have left.
   */
  private static final int BLOCKS = 128;

  private static final int WARP = 32;

  /** Columns a lane holds up to which a block has the most threads there may be. */
  private static final int FEW = 4;

  /**
   * How the router works.
   *
   * @param score what is compared
   * @param topk k
   * @param scaling what the weights are multiplied by
   * @param hasFigures whether balance loss and entropy are computed
   * @param hasZ whether the z-loss is
   */
  public record Form(
      RouterScore score, int topk, double scaling, boolean hasFigures, boolean hasZ) {}

  /**
   * What a choice depends on beside the logits; each may be null.
   *
   * @param bias fp32 [E], added to the scores for the choice alone
   * @param padding bool [T], true for tokens that choose no expert, and that have no part in losses
   *     and figures
   */
  public record Beside(Tensor bias, Tensor padding) {
    /** Nothing. */
    public static final Beside NOTHING = new Beside(null, null);

    private void require(long tokens, long experts) {
      if (bias != null) {
        Launch.require(bias, "biases", ScalarType.Float, experts);
      }
      if (padding != null) {
        Launch.require(padding, "padding", ScalarType.Bool, tokens);
      }
    }
  }

  /**
   * Tokens that have been routed, and the same once more.
   *
   * @param routed the very tensor whose gradient the other's is added to
   * @param again the same memory
   */
  public record Source(Tensor routed, Tensor again) {
    /** What experts are to take in place of x: of another tensor, be it an alias, itself. */
    public Tensor of(Tensor x) {
      return x.is_same(routed) ? again : x;
    }
  }

  /**
   * Losses and a figure, fp32 scalars. P are the probabilities that the scores stand for.
   *
   * @param balance the Switch loss, {@code E / (k T^2) sum_e counts[e] sum_t P[t, e]}; null with
   *     entropy
   * @param z {@code mean_t logsumexp(logits[t])^2}, or null
   * @param entropy {@code mean_t -sum_e P[t, e] ln P[t, e]}, without a gradient
   */
  public record Losses(Tensor balance, Tensor z, Tensor entropy) {}

  /**
   * Routes tokens.
   *
   * @param logits [T, E]; the kernels take fp32, and libtorch's operations any other type
   * @param form k of it is at most E
   * @throws IllegalArgumentException if a bias or padding does not fit the logits
   */
  public static TokenRouter of(Tensor logits, Form form, Beside beside) {
    beside.require(logits.size(0), logits.size(1));
    boolean taken =
        Kernels.take(logits)
            && Tensors.dtype(logits) == ScalarType.Float
            && fits(logits.size(0), logits.size(1), form);
    return taken
        ? new Route(form, beside, false).routed(logits)
        : PlainRouter.route(logits, form, beside);
  }

  /**
   * Routes tokens by the logits that {@link RouterProjection} makes of them. In bf16 on a GPU the
   * logits' gradient is written as its products take it, and the tokens' is added to the experts'.
   *
   * @param x [T, h], in any floating type
   * @param weight [E, h], likewise
   * @param bias [E], likewise, added to the logits, or null
   */
  public static TokenRouter project(
      Tensor x, Tensor weight, Tensor bias, Form form, Beside beside) {
    boolean taken =
        RouterProjection.take(x, weight)
            && x.dim() == 2
            && x.is_contiguous()
            && fits(x.size(0), weight.size(0), form);
    if (taken) {
      beside.require(x.size(0), weight.size(0));
      return new Route(form, beside, true).routed(x, weight, bias);
    }
    Tensor logits = RouterProjection.logits(x, weight);
    return of(bias == null ? logits : logits.add(bias.to(ScalarType.Float)), form, beside);
  }

  private static boolean fits(long tokens, long experts, Form form) {
    return tokens > 0
        && tokens * form.topk <= Integer.MAX_VALUE
        && experts <= MOST_EXPERTS
        && form.topk <= Math.min(MOST_CHOICES, experts);
  }

  /** Of logits, or of tokens, a weight and a bias. */
  private static final class Route extends CustomFunction {
    private final Form form;
    private final Tensor bias;
    private final Tensor padding;
    private final boolean projects;

    /** Tokens, weight and bias, where there are. */
    private Tensor x;

    private Tensor matrix;
    private Tensor logitBias;
    private Tensor logits;
    private Tensor expert;
    private Tensor slot;
    private Tensor counts;

    /** What means are multiplied by, and the balance loss: of the tokens that are no padding. */
    private Tensor byTokens;

    /** What was made, but for the gradients of some. */
    private TokenRouter made;

    Route(Form form, Beside beside, boolean projects) {
      this.form = form;
      this.bias = beside.bias == null ? null : beside.bias.detach().contiguous();
      this.padding = beside.padding == null ? null : beside.padding.contiguous();
      this.projects = projects;
    }

    TokenRouter routed(Tensor... inputs) {
      apply(inputs);
      return made;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor given =
          projects ? RouterProjection.product(inputs[0], inputs[1]) : inputs[0].contiguous();
      if (projects && inputs[2] != null) {
        given.add_(inputs[2]);
      }
      long rows = given.size(0);
      long columns = given.size(1);
      long choices = Math.multiplyExact(rows, form.topk);
      Tensor chosen = like(given, ScalarType.Int, rows, form.topk);
      Losses losses =
          new Losses(
              form.hasFigures ? like(given, ScalarType.Float) : null,
              form.hasZ ? like(given, ScalarType.Float) : null,
              form.hasFigures ? like(given, ScalarType.Float) : null);
      made =
          new TokenRouter(
              like(given, ScalarType.Long, choices),
              like(given, ScalarType.Long, rows, form.topk),
              like(given, ScalarType.Int, columns),
              like(given, ScalarType.Long, columns),
              like(given, ScalarType.Float, choices),
              form.hasFigures || form.hasZ ? losses : null,
              projects ? new Source(inputs[0], inputs[0].detach()) : null);
      byTokens = like(given, ScalarType.Float, 2);
      launch(given, chosen, losses);
      if (projects) {
        x = save(inputs[0]);
        matrix = save(inputs[1]);
        logitBias = inputs[2] == null ? null : save(inputs[2]);
      }
      logits = save(given);
      expert = save(chosen);
      slot = save(made.slot);
      counts = save(made.counts);
      byTokens = save(byTokens);
      List<Tensor> outputs = new ArrayList<>(List.of(made.weight));
      Tensor again = made.source == null ? null : made.source.again;
      for (Tensor more : new Tensor[] {losses.balance, losses.z, again}) {
        if (more != null) {
          outputs.add(more);
        }
      }
      return outputs.toArray(new Tensor[0]);
    }

    private void launch(Tensor x, Tensor chosen, Losses losses) {
      long rows = x.size(0);
      int columns = Math.toIntExact(x.size(1));
      int warps = threads(columns) / WARP;
      long ofWarp = (rows + (long) BLOCKS * warps - 1) / ((long) BLOCKS * warps);
      int each = Math.toIntExact(ofWarp * warps);
      long blocks = (rows + each - 1) / each;
      Tensor weight = like(x, ScalarType.Float, rows, form.topk);
      Tensor table = like(x, ScalarType.Int, blocks, columns);
      Tensor mass = form.hasFigures ? like(x, ScalarType.Float, blocks, columns) : null;
      Tensor figures = made.losses == null ? null : like(x, ScalarType.Float, blocks, 2);
      kernel("choose", columns)
          .launch(
              blocks,
              threads(columns),
              0,
              x,
              bias,
              padding,
              chosen,
              weight,
              table,
              mass,
              figures,
              rows,
              each,
              columns,
              form.topk,
              (float) form.scaling);
      kernel("place", columns)
          .launch(
              blocks + 1,
              threads(columns),
              0,
              chosen,
              weight,
              table,
              mass,
              figures,
              made.token,
              made.slot,
              made.weight,
              made.offsets,
              made.counts,
              losses.balance,
              losses.z,
              losses.entropy,
              byTokens,
              rows,
              each,
              columns,
              form.topk);
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      int next = 1;
      Tensor dbalance = form.hasFigures ? gradients[next++] : null;
      Tensor dz = form.hasZ ? gradients[next++] : null;
      if (!projects) {
        return new Tensor[] {logitsGradient(gradients[0], dbalance, dz)};
      }
      Tensor ofSource = gradients[next];
      Tensor halves = logitsGradient(gradients[0], dbalance, dz);
      Tensor dx = null;
      if (needsGradient(0)) {
        dx = RouterProjection.inputGradient(halves, matrix, ofSource);
        // A handle of its own: the one of the gradient that came is closed after this.
        dx = ofSource == null ? dx : new Tensor(dx);
      }
      return new Tensor[] {
        dx,
        needsGradient(1) ? RouterProjection.weightGradient(halves, x, matrix) : null,
        needsGradient(2) ? RouterProjection.biasGradient(halves, logitBias) : null
      };
    }

    /** The logits' gradient: in fp32, or as the sums of two bf16 numbers that products take. */
    private Tensor logitsGradient(Tensor dweight, Tensor dbalance, Tensor dz) {
      long rows = logits.size(0);
      int columns = Math.toIntExact(logits.size(1));
      Tensor gradient =
          projects ? like(logits, ScalarType.BFloat16, rows, 2L * columns) : Launch.empty(logits);
      kernel("logits_gradient", columns)
          .launch(
              Launch.rowBlocks(rows),
              Launch.ROW_THREADS,
              0,
              logits,
              expert,
              slot,
              counts,
              dweight,
              dbalance,
              dz,
              gradient,
              rows,
              columns,
              form.topk,
              (float) form.scaling,
              byTokens);
      return gradient;
    }

    private static Tensor like(Tensor x, ScalarType type, long... shape) {
      return Tensors.empty(type, x.device(), shape);
    }

    private static int held(int columns) {
      return (columns + WARP - 1) / WARP;
    }

    /** Threads of a block that chooses or places: many, as a row is a chain of short steps. */
    private static int threads(int columns) {
      return held(columns) <= FEW ? 1024 : 512;
    }

    private CudaKernel kernel(String function, int columns) {
      return CudaKernel.of(
          "experts/token_router.cu",
          function,
          "HELD=" + held(columns),
          "THREADS=" + threads(columns),
          "SCORE=" + form.score,
          "FIGURES=" + (form.hasFigures ? 1 : 0),
          "Z_LOSS=" + (form.hasZ ? 1 : 0),
          "HALVES=" + (projects ? 1 : 0));
    }
  }
}
