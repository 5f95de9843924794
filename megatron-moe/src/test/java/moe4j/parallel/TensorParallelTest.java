package moe4j.parallel;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * A dense GPT divided among tensor-parallel ranks against the whole one: losses, every gradient.
 */
public final class TensorParallelTest {
  private static final int ROWS = 3;
  private static final int SEQUENCE = 8;
  private static final int VOCABULARY = 24;

  /**
   * Of a computation in fp64 but for the loss, which is fp32: a gradient that is a small difference
   * of large terms, as that of a norm's weight is, has its rounding ten times and more.
   */
  private static final double TOLERANCE = 5e-6;

  private static final double FLOOR = 1e-6;

  private static final String GPT2 =
      "--num-layers 2 --hidden-size 16 --num-attention-heads 4 --seq-length 8"
          + " --hidden-dropout 0.2 --attention-dropout 0.2 --init-method-std 0.3";
  private static final String LLAMA =
      "--num-layers 2 --hidden-size 16 --num-attention-heads 8 --seq-length 8"
          + " --group-query-attention --num-query-groups 4 --position-embedding-type rope"
          + " --normalization RMSNorm --swiglu --ffn-hidden-size 24 --disable-bias-linear"
          + " --qk-layernorm --untie-embeddings-and-output-weights --init-method-std 0.3";

  @DataProvider
  Object[][] layouts() {
    return new Object[][] {
      {GPT2, 2, false},
      {GPT2, 2, true},
      {GPT2, 4, true},
      {LLAMA, 2, false},
      {LLAMA, 2, true},
      {LLAMA, 4, false}
    };
  }

  /** What a model came to: per-token losses, and each checkpoint tensor's gradient and value. */
  @SuppressWarnings("ArrayRecordComponent") // figures: nobody compares two
  private record Outcome(
      float[] losses, Map<String, float[]> gradients, Map<String, float[]> values) {}

  @Test(dataProvider = "layouts")
  public void itIsTheWholeModel(String flags, int ranks, boolean sequence) {
    GptConfig config = moe4j.config.Flags.parse(GptConfig.class, flags.split(" "));
    long seed = Seeds.seed();
    Outcome whole;
    try (PointerScope scope = new PointerScope()) {
      whole = run(config, seed, Groups.single());
    }
    // Losses are in fp32. What that rounds off is relative to all that a gradient is a sum of,
    // which
    // of some parameters nearly cancels out.
    double floor = 0.01 * norm(whole.gradients());
    Set<String> seen = new ConcurrentSkipListSet<>();
    ThreadRanks.run(
        new Layout(ranks, ranks, 1, ranks),
        sequence,
        groups -> {
          try (ParameterSet parameters =
              new ParameterSet(7, ScalarType.Double, new Device("cpu"), groups)) {
            float[] losses = compute(config, seed, parameters);
            assertClose("losses", losses, whole.losses(), TOLERANCE, FLOOR);
            for (Parameter parameter : parameters.all()) {
              Tensor gradient = parameter.tensor().grad().clone();
              if (parameter.partial()) {
                groups.tensor().allReduce(gradient, Group.Reduction.SUM).await();
              }
              for (Parameter.Piece piece : parameter.pieces()) {
                seen.add(piece.name());
                assertEquals(
                    Tensors.floats(piece.of(parameter.tensor().detach())),
                    cut(whole.values().get(piece.name()), piece),
                    piece.name());
                assertClose(
                    "gradient of " + piece.name(),
                    Tensors.floats(piece.of(gradient)),
                    cut(whole.gradients().get(piece.name()), piece),
                    TOLERANCE,
                    floor);
              }
            }
          }
        });
    assertEquals(new TreeSet<>(seen), new TreeSet<>(whole.values().keySet()));
  }

  /** The norm of all of a model's gradients. */
  private static double norm(Map<String, float[]> gradients) {
    return Math.sqrt(
        gradients.values().stream()
            .mapToDouble(g -> Math.pow(Close.norm(Close.doubles(g)), 2))
            .sum());
  }

  private static Outcome run(GptConfig config, long seed, Groups groups) {
    try (ParameterSet parameters =
        new ParameterSet(7, ScalarType.Double, new Device("cpu"), groups)) {
      float[] losses = compute(config, seed, parameters);
      Map<String, float[]> gradients = new HashMap<>();
      Map<String, float[]> values = new HashMap<>();
      for (Parameter parameter : parameters.all()) {
        gradients.put(parameter.name(), Tensors.floats(parameter.tensor().grad()));
        values.put(parameter.name(), Tensors.floats(parameter.tensor()));
      }
      return new Outcome(losses, gradients, values);
    }
  }

  private static float[] compute(GptConfig config, long seed, ParameterSet parameters) {
    GptModel model = GptModel.dense(config, VOCABULARY, parameters);
    Random random = new Random(seed);
    long[] tokens = random.longs(ROWS * SEQUENCE, 0, VOCABULARY).toArray();
    long[] labels = random.longs(ROWS * SEQUENCE, 0, VOCABULARY).toArray();
    Batch batch =
        new Batch(
            Tensors.of(tokens, ROWS, SEQUENCE),
            Tensors.of(labels, ROWS, SEQUENCE),
            null,
            null,
            null);
    Tensor losses = model.loss(batch, Pass.training(new StepRandom(seed, 3, 5, ROWS)));
    // Not alike for all tokens, so that a token's gradient in another's place shows.
    float[] weights = new float[ROWS * SEQUENCE];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = 0.5f + random.nextFloat();
    }
    losses.mul(Tensors.of(weights, ROWS, SEQUENCE)).sum().backward();
    CustomFunction.settle();
    return Tensors.floats(losses);
  }

  /** A box of a row-major tensor of at most two dimensions. */
  private static float[] cut(float[] whole, Parameter.Piece piece) {
    boolean matrix = piece.shape().size() == 2;
    int columns = matrix ? piece.globalShape().get(1).intValue() : 1;
    int wide = matrix ? piece.shape().get(1).intValue() : 1;
    int left = matrix ? piece.offset().get(1).intValue() : 0;
    int top = piece.offset().get(0).intValue();
    float[] box = new float[(int) piece.volume()];
    for (int i = 0; i < box.length; i++) {
      box[i] = whole[(top + i / wide) * columns + left + i % wide];
    }
    return box;
  }
}
