package moe4j.transformer;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.model.gpt.GptConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class AttentionTest {
  private static final int H = 24;
  private static final int D = 8;
  private static final int S = 7;
  private static final int B = 2;
  private static final String FLAGS =
      "--num-layers 1 --hidden-size %d --seq-length %d --kv-channels %d ".formatted(H, S, D);
  private static final SequenceContext CAUSAL = new SequenceContext(null, null, null, null);

  private Random random;
  private PointerScope scope;
  private final List<ParameterSet> sets = new ArrayList<>();

  private static Attention attention(GptConfig config, ParameterScope parameters) {
    return new Attention(config.layerShape(), config.attention(), 0, parameters);
  }

  @BeforeMethod
  public void open() {
    random = Seeds.random(AttentionTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
    sets.forEach(ParameterSet::close);
    sets.clear();
  }

  private ParameterSet parameters() {
    ParameterSet parameters = Models.parameters(ScalarType.Float);
    sets.add(parameters);
    return parameters;
  }

  private static Pass training(long seed, long step) {
    return Pass.training(new StepRandom(seed, step, 0, B));
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {"--num-attention-heads 3", 3, 3},
      {"--num-attention-heads 3 --disable-bias-linear", 3, 3},
      {"--num-attention-heads 3 --disable-bias-linear --add-qkv-bias", 3, 3},
      {"--num-attention-heads 6 --group-query-attention --num-query-groups 2", 6, 2},
      {"--num-attention-heads 4 --group-query-attention --num-query-groups 1", 4, 1},
    };
  }

  /** The definition, in fp64 loops over batch, head, query and key. */
  @Test(dataProvider = "shapes")
  public void isTheDefinition(String flags, int heads, int groups) {
    GptConfig config = Models.config(FLAGS + flags);
    ParameterSet parameters = parameters();
    Attention attention = attention(config, parameters.root());
    Models.randomise(parameters, random, 0.3);
    Tensor x = Models.normals(random, B, S, H);
    float[] actual = Tensors.floats(attention.forward(x, CAUSAL, Pass.evaluation()));

    double[] qkv = linear(x, parameters, "linear_qkv", heads * D + 2 * groups * D);
    int width = heads * D + 2 * groups * D;
    int perGroup = heads / groups;
    double[] mixed = new double[B * S * heads * D];
    for (int b = 0; b < B; b++) {
      for (int head = 0; head < heads; head++) {
        int group = head / perGroup * (perGroup + 2) * D;
        int query = group + head % perGroup * D;
        int key = group + perGroup * D;
        int value = key + D;
        for (int s = 0; s < S; s++) {
          double[] weights = new double[s + 1];
          double sum = 0;
          for (int t = 0; t <= s; t++) {
            double score = 0;
            for (int i = 0; i < D; i++) {
              score += qkv[(b * S + s) * width + query + i] * qkv[(b * S + t) * width + key + i];
            }
            weights[t] = Math.exp(score / Math.sqrt(D));
            sum += weights[t];
          }
          for (int t = 0; t <= s; t++) {
            for (int i = 0; i < D; i++) {
              mixed[((b * S + s) * heads + head) * D + i] +=
                  weights[t] / sum * qkv[(b * S + t) * width + value + i];
            }
          }
        }
      }
    }
    Tensor between = Tensors.of(floats(mixed), B, S, (long) heads * D);
    double[] expected = linear(between, parameters, "linear_proj", H);
    assertClose("attention", actual, expected, 1e-5, 1e-2);
  }

  private static float[] floats(double[] values) {
    float[] narrow = new float[values.length];
    for (int i = 0; i < narrow.length; i++) {
      narrow[i] = (float) values[i];
    }
    return narrow;
  }

  private static double[] linear(Tensor x, ParameterSet parameters, String name, int out) {
    float[] in = Tensors.floats(x);
    float[] weight = Tensors.floats(Models.parameter(parameters, name + ".weight"));
    boolean biased = parameters.all().stream().anyMatch(p -> p.name().equals(name + ".bias"));
    float[] bias =
        biased ? Tensors.floats(Models.parameter(parameters, name + ".bias")) : new float[out];
    int width = weight.length / out;
    double[] y = new double[in.length / width * out];
    for (int i = 0; i < y.length; i++) {
      y[i] = bias[i % out];
      for (int j = 0; j < width; j++) {
        y[i] += in[i / out * width + j] * (double) weight[i % out * width + j];
      }
    }
    return y;
  }

  /** A group's key and value, each repeated for its heads, make the ungrouped attention. */
  @Test
  public void groupedQueriesAreRepeatedKeys() {
    ParameterSet grouped = parameters();
    ParameterSet repeated = parameters();
    Attention one =
        attention(
            Models.config(
                FLAGS + "--num-attention-heads 6 --group-query-attention --num-query-groups 2"),
            grouped.root());
    Attention other = attention(Models.config(FLAGS + "--num-attention-heads 6"), repeated.root());
    Models.randomise(grouped, random, 0.3);
    try (NoGradGuard guard = new NoGradGuard()) {
      for (String name : new String[] {"linear_proj.weight", "linear_proj.bias"}) {
        Models.parameter(repeated, name).copy_(Models.parameter(grouped, name));
      }
      for (String name : new String[] {"linear_qkv.weight", "linear_qkv.bias"}) {
        Tensor source = Models.parameter(grouped, name).view(2, 5, D, -1);
        TensorVector rows = new TensorVector();
        for (int head = 0; head < 6; head++) {
          Tensor group = source.select(0, head / 3);
          rows.push_back(group.select(0, head % 3));
          rows.push_back(group.select(0, 3));
          rows.push_back(group.select(0, 4));
        }
        Tensor target = Models.parameter(repeated, name);
        target.copy_(torch.cat(rows, 0).view(target.shape()));
      }
    }
    Tensor x = Models.normals(random, B, S, H);
    Tensor mine = x.clone().set_requires_grad(true);
    Tensor theirs = x.clone().set_requires_grad(true);
    Tensor upstream = Models.normals(random, B, S, H);
    Tensor first = one.forward(mine, CAUSAL, Pass.evaluation());
    Tensor second = other.forward(theirs, CAUSAL, Pass.evaluation());
    assertClose("output", Tensors.floats(first), Tensors.floats(second), 1e-6, 1);
    first.mul(upstream).sum().backward();
    second.mul(upstream).sum().backward();
    assertClose("gradient", Tensors.floats(mine.grad()), Tensors.floats(theirs.grad()), 1e-5, 1);
    // What a group's key gets is what its heads' keys get together.
    Tensor shared = Models.parameter(grouped, "linear_qkv.weight").grad().view(2, 5, D * H);
    Tensor each = Models.parameter(repeated, "linear_qkv.weight").grad().view(2, 3, 3, D * H);
    for (int part = 1; part < 3; part++) {
      assertClose(
          "weights' gradient",
          Tensors.floats(shared.select(1, 2 + part)),
          Tensors.floats(each.select(2, part).sum(1)),
          1e-5,
          1e-2);
    }
  }

  @Test
  public void theFutureIsNotSeen() {
    ParameterSet parameters = parameters();
    Attention attention =
        attention(Models.config(FLAGS + "--num-attention-heads 3"), parameters.root());
    Models.randomise(parameters, random, 0.3);
    Tensor x = Models.normals(random, 1, S, H);
    Tensor changed = x.clone();
    changed.select(1, 4).copy_(Models.normals(random, H).unsqueeze(0));
    Tensor before = attention.forward(x, CAUSAL, Pass.evaluation());
    Tensor after = attention.forward(changed, CAUSAL, Pass.evaluation());
    for (int s = 0; s < S; s++) {
      assertEquals(
          Arrays.equals(Tensors.floats(before.select(1, s)), Tensors.floats(after.select(1, s))),
          s < 4,
          "token " + s);
    }
  }

  @DataProvider
  public Object[][] masks() {
    return new Object[][] {{false}, {true}};
  }

  /** With as good as no dropout, both ways to compute attention are one function. */
  @Test(dataProvider = "masks")
  public void theWayOfDropoutIsThatOfNone(boolean documents) {
    ParameterSet plain = parameters();
    ParameterSet dropping = parameters();
    String heads = "--num-attention-heads 4 --group-query-attention --num-query-groups 2";
    Attention one = attention(Models.config(FLAGS + heads), plain.root());
    Attention other =
        attention(Models.config(FLAGS + heads + " --attention-dropout 1e-12"), dropping.root());
    Models.randomise(plain, random, 0.3);
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : plain.all()) {
        Models.parameter(dropping, parameter.name()).copy_(parameter.tensor());
      }
    }
    Tensor allowed = documents ? allowed(new long[] {0, 0, 0, 1, 1, 1, 1}) : null;
    SequenceContext context = new SequenceContext(null, null, null, allowed);
    Tensor x = Models.normals(random, B, S, H);
    Tensor mine = x.clone().set_requires_grad(true);
    Tensor theirs = x.clone().set_requires_grad(true);
    Tensor upstream = Models.normals(random, B, S, H);
    Tensor first = one.forward(mine, context, training(1, 0));
    Tensor second = other.forward(theirs, context, training(1, 0));
    assertClose("output", Tensors.floats(second), Tensors.floats(first), 1e-5, 1);
    first.mul(upstream).sum().backward();
    second.mul(upstream).sum().backward();
    assertClose("gradient", Tensors.floats(theirs.grad()), Tensors.floats(mine.grad()), 1e-5, 1);
    for (Parameter parameter : plain.all()) {
      assertClose(
          parameter.name(),
          Tensors.floats(Models.parameter(dropping, parameter.name()).grad()),
          Tensors.floats(parameter.tensor().grad()),
          1e-5,
          1);
    }
    // In evaluation nothing is dropped at all.
    assertEquals(
        Tensors.floats(other.forward(x, context, Pass.evaluation())), Tensors.floats(first));
  }

  /** Causal and within documents, of two rows alike. */
  private static Tensor allowed(long[] documents) {
    Tensor row = Tensors.of(documents, 1, S);
    Tensor same = row.unsqueeze(2).eq(row.unsqueeze(1));
    return same.to(ScalarType.Byte).tril().to(ScalarType.Bool).unsqueeze(1).expand(B, 1, S, S);
  }

  @Test
  public void dropoutIsDrawnFromSeedAndStep() {
    ParameterSet parameters = parameters();
    Attention attention =
        attention(
            Models.config(FLAGS + "--num-attention-heads 3 --attention-dropout 0.3"),
            parameters.root());
    Models.randomise(parameters, random, 0.3);
    Tensor x = Models.normals(random, B, S, H);
    float[] once = Tensors.floats(attention.forward(x, CAUSAL, training(5, 8)));
    assertEquals(Tensors.floats(attention.forward(x, CAUSAL, training(5, 8))), once);
    assertFalse(Arrays.equals(Tensors.floats(attention.forward(x, CAUSAL, training(5, 9))), once));
    assertFalse(Arrays.equals(Tensors.floats(attention.forward(x, CAUSAL, training(6, 8))), once));
  }

  /** Attention is linear in the weights that are dropped: its mean is what it is without. */
  @Test
  public void dropoutChangesNothingOnAverage() {
    ParameterSet parameters = parameters();
    Attention attention =
        attention(
            Models.config(FLAGS + "--num-attention-heads 3 --attention-dropout 0.2"),
            parameters.root());
    Models.randomise(parameters, random, 0.3);
    Tensor x = Models.normals(random, B, S, H);
    double[] exact = Close.doubles(Tensors.floats(attention.forward(x, CAUSAL, Pass.evaluation())));
    int draws = 1000;
    double[] mean = new double[exact.length];
    double spread = 0;
    for (int step = 0; step < draws; step++) {
      Pass pass = training(Seeds.seed(), step);
      Tensor y = Scopes.compute(() -> attention.forward(x, CAUSAL, pass));
      double[] drawn = Close.doubles(Tensors.floats(y));
      spread += Math.pow(Close.distance(drawn, exact), 2) / draws;
      for (int i = 0; i < mean.length; i++) {
        mean[i] += drawn[i] / draws;
      }
    }
    // The mean's squared distance is the draws' over their number; twice that is far off.
    double distance = Close.distance(mean, exact);
    assertTrue(distance < 2 * Math.sqrt(spread / draws), distance + " of " + Math.sqrt(spread));
    assertTrue(Math.sqrt(spread) > 0.05 * Close.norm(exact), "nothing was dropped");
  }
}
