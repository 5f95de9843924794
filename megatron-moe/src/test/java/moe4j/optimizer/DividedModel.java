package moe4j.optimizer;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.BiFunction;
import java.util.function.Function;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.ParallelConfig;
import moe4j.parallel.Shard;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.Parameter.Piece;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Parameters of every kind without a model around them, divided among ranks, and gradients of which
 * each rank has what it would have of the whole's: one rank is given the sum.
 */
public final class DividedModel {
  /** Micro-batches a step on each rank. */
  public static final int MICRO_BATCHES = 2;

  private DividedModel() {}

  /** A way to divide, for people too. */
  public record Way(Layout layout, ScalarType dtype, String flags) {
    /** One rank. */
    public static Way whole(ScalarType dtype) {
      return new Way(Layout.SINGLE, dtype, "");
    }

    /** The flags, parsed. */
    public ParallelConfig config() {
      return Flags.parse(ParallelConfig.class, Refusals.words(flags));
    }

    @Override
    public String toString() {
      return layout + " " + dtype + " " + flags;
    }
  }

  /** The optimizer's flags, parsed. */
  public static OptimizerConfig optimizer(String flags) {
    return Flags.parse(OptimizerConfig.class, Refusals.words("--lr 0.01 " + flags));
  }

  /** This rank's parameters. */
  public static ParameterSet parameters(Groups groups, ScalarType dtype) {
    ParameterSet set = new ParameterSet(Seeds.seed(), dtype, new Device("cpu"), groups);
    ParameterScope root = set.root();
    root.weight("embedding.weight", 1, Shard.of(groups.tensor(), 0), 40, 23);
    for (String layer : List.of("0", "1")) {
      ParameterScope scope = root.child(layer);
      scope.partial().gain("norm.weight", 23);
      scope.weight("row.weight", 1, Shard.of(groups.tensor(), 1), 6, 8);
      scope.bias("row.bias", 6);
      scope.weight("glu.weight", 1, Shard.of(groups.tensor(), 0, 2), 16, 3);
      scope.bias("glu.bias", Shard.of(groups.tensor(), 0, 2), 16);
      scope.partial().weight("router.weight", 1, 4, 23);
      ExpertRange range = ExpertRange.of(4, groups.expert());
      ParameterScope experts = scope.child("experts");
      Shard part = Shard.of(groups.expertTensor(), 0, 2);
      experts.expertWeights("linear_fc1.weight", range, 1, part, 8, 23);
      experts.expertBiases("linear_fc2.bias", range, Shard.WHOLE, 5);
    }
    root.weight("final.weight", 1, 61, 3);
    return set;
  }

  /** A tensor of a parameter's shape, put together of parts of whole ones. */
  public static Tensor part(Parameter parameter, Function<String, Tensor> whole) {
    Tensor part = Tensors.zeros(ScalarType.Float, new Device("cpu"), parameter.tensor().shape());
    for (Piece piece : parameter.pieces()) {
      Tensor box = whole.apply(piece.name());
      for (int d = 0; d < piece.shape().size(); d++) {
        box = box.narrow(d, piece.offset().get(d), piece.shape().get(d));
      }
      piece.of(part).copy_(box);
    }
    return part;
  }

  /** Tensors by their global names, of one rank that has all of each. */
  public static Map<String, float[]> byName(AdamW whole, Function<OptimizerState, Tensor> tensor) {
    Map<String, float[]> all = new HashMap<>();
    for (OptimizerState state : whole.states()) {
      for (Piece piece : state.parameter().pieces()) {
        Scopes.run(
            () -> all.put(piece.name(), Tensors.floats(piece.of(tensor.apply(state).detach()))));
      }
    }
    return all;
  }

  /** Which of the ranks' gradients of a parameter this one's is, and how many there are. */
  private static int source(Parameter parameter, Groups groups) {
    return parameter.isOfExperts()
        ? groups.expertData().rank()
        : isPartial(parameter) ? groups.world().rank() : groups.data().rank();
  }

  private static int sources(Parameter parameter, Layout layout) {
    return parameter.isOfExperts()
        ? layout.expertData()
        : isPartial(parameter) ? layout.world() : layout.data();
  }

  private static boolean isPartial(Parameter parameter) {
    return parameter.name().matches(".*(norm|router).weight");
  }

  /** Gradients of whole parameters: of a name, a source, and a micro-batch over all steps. */
  @FunctionalInterface
  public interface Draw {
    /** The gradient, or null for none. */
    float[] of(String name, int source, int microBatch, int size);
  }

  /**
   * N(0, 1) and some zeros, the same for the same names and numbers. All are multiples of 2^-10, so
   * that fp32 sums of a few are exact in any order: a sum of next to nothing would be rounding's,
   * and Adam makes a whole step of it.
   */
  public static float[] normals(String name, int source, int microBatch, int size) {
    Random random =
        new Random(Seeds.seed() + 31L * name.hashCode() + 7919L * source + 104729L * microBatch);
    float[] values = Seeds.normals(random, size);
    for (int i = 0; i < size; i++) {
      values[i] = Math.round(values[i] * 1024) / 1024f;
    }
    values[0] = 0;
    values[size / 2] = 0;
    return values;
  }

  private static Tensor whole(Piece piece, float[] values) {
    long[] shape = piece.globalShape().stream().mapToLong(Long::longValue).toArray();
    return Tensors.of(values, shape);
  }

  private static void backward(
      ParameterSet parameters, BiFunction<Parameter, Piece, float[]> gradients) {
    Tensor loss = null;
    for (Parameter parameter : parameters.all()) {
      Map<String, Tensor> found = new HashMap<>();
      for (Piece piece : parameter.pieces()) {
        float[] values = gradients.apply(parameter, piece);
        if (values != null) {
          found.put(piece.name(), whole(piece, values));
        }
      }
      if (!found.isEmpty()) {
        Tensor gradient = part(parameter, found::get).to(Tensors.dtype(parameter.tensor()));
        Tensor term = parameter.tensor().mul(gradient).sum();
        loss = loss == null ? term : loss.add(term);
      }
    }
    if (loss != null) {
      loss.backward();
    }
  }

  private static int size(Piece piece) {
    return Math.toIntExact(piece.globalShape().stream().reduce(1L, (a, b) -> a * b));
  }

  /** A rank's micro-batches of a step, up to the update. */
  public static void microBatches(AdamW optimizer, ParameterSet parameters, int step, Draw draw) {
    for (int i = 0; i < MICRO_BATCHES; i++) {
      int number = step * MICRO_BATCHES + i;
      optimizer.beforeBackward(i == MICRO_BATCHES - 1);
      Scopes.run(
          () -> {
            backward(
                parameters,
                (parameter, piece) ->
                    draw.of(
                        piece.name(), source(parameter, parameters.groups()), number, size(piece)));
            optimizer.accumulate();
          });
    }
  }

  /** The same of the one rank that is given what the ranks of a layout have between them. */
  public static void microBatchesOfAll(
      AdamW optimizer, ParameterSet parameters, Layout layout, int step, Draw draw) {
    for (int i = 0; i < MICRO_BATCHES; i++) {
      int number = step * MICRO_BATCHES + i;
      for (int s = 0; s < layout.world(); s++) {
        int source = s;
        Scopes.run(
            () -> {
              backward(
                  parameters,
                  (parameter, piece) ->
                      source < sources(parameter, layout)
                          ? draw.of(piece.name(), source, number, size(piece))
                          : null);
              optimizer.accumulate();
            });
      }
    }
  }

  /** Sets every parameter to other values than the initial ones, the same in every layout. */
  public static void randomise(ParameterSet parameters) {
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter p : parameters.all()) {
        Scopes.run(
            () -> {
              Map<String, Tensor> whole = new HashMap<>();
              for (Piece piece : p.pieces()) {
                whole.put(piece.name(), whole(piece, normals(piece.name(), -1, 0, size(piece))));
              }
              p.tensor().copy_(part(p, whole::get));
            });
      }
    }
  }
}
