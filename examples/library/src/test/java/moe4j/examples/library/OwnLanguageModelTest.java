package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.model.LanguageModel;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.OptimizerConfig;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Another mixer in a GPT and in a model of one's own, which becomes an MoE in one line. */
public class OwnLanguageModelTest {
  private static final int KEYS = 4;
  private static final int VOCABULARY = 8 + KEYS;
  private static final int ROWS = 32;
  private static final int LENGTH = 6;

  private Random random;
  private ParameterSet parameters;
  private Batch batch;

  @BeforeMethod
  public void open() {
    random = Seeds.random(OwnLanguageModelTest.class);
    parameters = Testing.parameters();
    batch = keysFirst();
  }

  @AfterMethod
  public void close() {
    parameters.close();
    batch.tokens().close();
    batch.labels().close();
    batch.lossMask().close();
  }

  /** A row begins with its key, which is the label of all its tokens. */
  private Batch keysFirst() {
    long[] tokens = random.longs(ROWS * LENGTH, 0, 8).toArray();
    long[] labels = new long[tokens.length];
    for (int row = 0; row < ROWS; row++) {
      long key = 8L + random.nextInt(KEYS);
      tokens[row * LENGTH] = key;
      Arrays.fill(labels, row * LENGTH, (row + 1) * LENGTH, key);
    }
    return new Batch(
        Scopes.keep(() -> Tensors.of(tokens, ROWS, LENGTH)),
        Scopes.keep(() -> Tensors.of(labels, ROWS, LENGTH)),
        Scopes.keep(() -> torch.ones(ROWS, LENGTH)),
        null,
        null);
  }

  private static GptConfig gpt() {
    return Flags.parse(
        GptConfig.class,
        ("--num-layers 2 --hidden-size 32 --num-attention-heads 2 --seq-length 6"
                + " --position-embedding-type none --init-method-std 0.1 --hidden-dropout 0.1")
            .split(" "));
  }

  private LanguageModel model(String kind) {
    GptConfig config = gpt();
    MoeConfig moe =
        kind.equals("gpt")
            ? MoeConfig.dense()
            : MoeConfig.parse("--num-experts", "4", "--moe-aux-loss-coeff", "0.01");
    FeedForward.Factory feedForward = Moe.feedForward(config.layerShape(), moe);
    return switch (kind) {
      case "own" -> new OwnLanguageModel(VOCABULARY, parameters);
      case "own with experts" -> OwnLanguageModel.withExperts(VOCABULARY, parameters);
      default ->
          new GptModel(
              config,
              VOCABULARY,
              (layer, scope) -> new CausalMean(config.hiddenSize(), scope),
              feedForward,
              parameters);
    };
  }

  @DataProvider
  public Object[][] kinds() {
    return new Object[][] {{"gpt"}, {"gpt with experts"}, {"own"}, {"own with experts"}};
  }

  private double[] losses(LanguageModel model, Batch of) {
    double[][] losses = new double[1][];
    Scopes.run(
        () -> {
          float[] values = Tensors.floats(model.loss(of, Pass.evaluation()));
          losses[0] = new double[values.length];
          for (int i = 0; i < values.length; i++) {
            losses[0][i] = values[i];
          }
        });
    return losses[0];
  }

  /** No token but the first knows the key unless the mixer tells it: chance would be ln 4. */
  @Test(dataProvider = "kinds")
  public void itLearnsWhatOnlyTheMixerTells(String kind) {
    LanguageModel model = model(kind);
    assertFalse(
        parameters.all().stream().anyMatch(p -> p.name().contains("linear_qkv")), "no attention");
    assertEquals(
        parameters.all().stream().anyMatch(p -> p.name().contains(".mlp.experts.")),
        kind.endsWith("experts"));
    OptimizerConfig config = Flags.parse(OptimizerConfig.class, "--lr", "0.01");
    try (AdamW optimizer = new AdamW(parameters, config, 1)) {
      optimizer.setLearningRate(config.lr());
      for (int i = 0; i < 60; i++) {
        StepRandom draws = new StepRandom(1, i, 0, ROWS);
        Scopes.run(
            () -> {
              Pass pass = Pass.training(draws);
              pass.total(model.loss(batch, pass).mean()).backward();
              optimizer.accumulate();
              optimizer.step();
            });
      }
    }
    double mean = Arrays.stream(losses(model, batch)).average().orElseThrow();
    assertTrue(mean < 0.3, kind + ": loss " + mean);
  }

  /** A token's loss does not depend on later ones, and does on earlier ones. */
  @Test(dataProvider = "kinds")
  public void noTokenSeesALaterOne(String kind) {
    LanguageModel model = model(kind);
    double[] before = losses(model, batch);
    Tensor other = Scopes.keep(() -> batch.tokens().clone());
    Scopes.run(() -> other.narrow(1, 3, 1).add_(new Scalar(1)).remainder_(new Scalar(8)));
    double[] after = losses(model, new Batch(other, batch.labels(), batch.lossMask(), null, null));
    other.close();
    int changed = 0;
    for (int i = 0; i < before.length; i++) {
      if (i % LENGTH < 3) {
        assertEquals(after[i], before[i], 1e-5);
      } else {
        changed += Math.abs(after[i] - before[i]) > 1e-7 ? 1 : 0;
      }
    }
    assertTrue(changed > ROWS, changed + " losses of later tokens");
  }

  /** What was dense is gone, what is no feed-forward block stays, and so do its weights. */
  @Test
  public void oneLineGivesItExperts() {
    OwnLanguageModel model = new OwnLanguageModel(VOCABULARY, parameters);
    float[] words = Tensors.floats(Testing.parameter(parameters, "words.weight"));
    long dense = parameters.elements();
    assertEquals(Moe.fmoefy(model, 8), model);
    assertEquals(
        parameters.all().stream().map(Parameter::name).filter(n -> n.contains("1.mlp")).toList(),
        List.of(
            "layers.1.mlp.router.weight",
            "layers.1.mlp.experts.linear_fc1.weight",
            "layers.1.mlp.experts.linear_fc2.weight"));
    long block = 2L * 32 * 64 + 64 + 32;
    long experts = 8L * 2 * 32 * 32 + 8 * 32;
    assertEquals(parameters.elements(), dense - 2 * block + 2 * experts);
    assertEquals(Tensors.floats(Testing.parameter(parameters, "words.weight")), words);
    // And back: a pattern's other layers are dense as before.
    Moe.fmoefy(model, MoeConfig.parse("--num-experts", "4", "--moe-layer-freq", "[1,0]"));
    List<String> names = parameters.all().stream().map(Parameter::name).toList();
    assertTrue(names.contains("layers.0.mlp.experts.linear_fc1.weight"), names.toString());
    assertTrue(names.contains("layers.1.mlp.linear_fc1.bias"), names.toString());
    assertNotEquals(parameters.elements(), dense);
  }
}
