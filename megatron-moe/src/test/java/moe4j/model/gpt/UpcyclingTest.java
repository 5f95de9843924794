package moe4j.model.gpt;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Random;
import moe4j.config.Refusals;
import moe4j.model.Upcycling;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.NaiveGate;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Models with experts have the logits of the dense ones that they are made of. */
public class UpcyclingTest {
  private static final int V = 48;
  private static final int F = 24;
  private static final String FLAGS =
      "--num-layers 3 --hidden-size 16 --num-attention-heads 2 --seq-length 12"
          + " --init-method-std 0.4 --ffn-hidden-size "
          + F
          + " ";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(UpcyclingTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private GptModel dense(String flags, ScalarType type) {
    GptModel model = GptModel.dense(Models.config(FLAGS + flags), V, Models.parameters(type));
    Models.randomise(model.parameters(), random, 0.4);
    return model;
  }

  private static Upcycling upcycling(String experts, int shards) {
    return new Upcycling(MoeConfig.parse(Refusals.words(experts)), shards);
  }

  private static GptModel experts(GptModel dense, String experts, int shards) {
    ParameterSet parameters = Models.parameters(dense.parameters().dtype());
    return UpcycledGpt.model(dense, upcycling(experts, shards), parameters);
  }

  private static float[] logits(GptModel model, Tensor tokens, Pass pass) {
    return Tensors.floats(model.logits(new Batch(tokens, tokens, null, null, null), pass));
  }

  private Tensor tokens() {
    return Models.tokens(random, V, 3, 12);
  }

  @DataProvider
  public Object[][] models() {
    String[] activations = {"", "--swiglu", "--relu", "--squared-relu"};
    String[] biases = {"", " --disable-bias-linear"};
    Object[][] routers = {
      {"--num-experts 4", 1},
      {"--num-experts 4 --moe-router-topk 4", 1},
      {"--num-experts 6", 2},
      {"--num-experts 8 --moe-router-topk 4", 2},
      {"--num-experts 8 --moe-router-topk 4", 4},
      {"--num-experts 2", 2},
      {"--num-experts 12 --moe-router-topk 6 --moe-layer-freq [0,1,1]", 3},
    };
    Object[][] all = new Object[activations.length * biases.length * routers.length][];
    int i = 0;
    for (String activation : activations) {
      for (String bias : biases) {
        for (Object[] router : routers) {
          all[i++] = new Object[] {(activation + bias).strip(), router[0], router[1]};
        }
      }
    }
    return all;
  }

  @DataProvider
  public Object[][] routers() {
    String sigmoid = "--num-experts 8 --moe-router-topk 4 --moe-router-score-function sigmoid";
    String root = "--num-experts 8 --moe-router-topk 4 --moe-router-score-function sqrtsoftplus";
    return new Object[][] {
      {"", "--num-experts 1 --moe-router-topk 1", 1},
      {"--swiglu", sigmoid, 1},
      {"", sigmoid + " --moe-router-topk-scaling-factor 2.5", 2},
      {"--swiglu", sigmoid + " --moe-router-topk-scaling-factor 0.3", 4},
      {"", sigmoid + " --moe-router-enable-expert-bias", 2},
      {"", sigmoid + " --moe-router-num-groups 4 --moe-router-group-topk 2", 2},
      {"", root + " --moe-router-topk-scaling-factor 1.7", 2},
      {"", "--num-experts 8 --moe-router-topk 2 --moe-router-topk-scaling-factor 3", 2},
      {"--disable-bias-linear", "--num-experts 6 --add-expert-bias", 2},
      {"", "--num-experts 6 --balance-strategy naive --top-k 1", 1},
      {"", "--num-experts 6 --balance-strategy naive", 2},
      {"--swiglu", "--num-experts 8 --balance-strategy noisy --top-k 4", 2},
      {"", "--num-experts 4 --balance-strategy gshard", 2},
      {"", "--num-experts 8 --balance-strategy swipe --top-k 4", 4},
      {"", "--num-experts 4 --moe-expert-capacity-factor 2", 1},
      {"", "--num-experts 4 --moe-expert-capacity-factor 2 --moe-pad-expert-input-to-capacity", 2},
      {"", "--num-experts 6 --fmoefy", 2},
      {"", "--num-experts 6 --fmoefy --moe-ffn-hidden-size 24", 1},
    };
  }

  @Test(dataProvider = "models")
  public void logitsAreTheDenseModels(String flags, String experts, int shards) {
    assertEqualLogits(flags, experts, shards);
  }

  @Test(dataProvider = "routers")
  public void soTheyAreWithEveryRouter(String flags, String experts, int shards) {
    assertEqualLogits(flags, experts, shards);
  }

  private void assertEqualLogits(String flags, String experts, int shards) {
    try (GptModel dense = dense(flags, ScalarType.Float);
        GptModel model = experts(dense, experts, shards)) {
      Tensor tokens = tokens();
      Pass pass = Pass.evaluation();
      float[] wanted = logits(dense, tokens, Pass.evaluation());
      assertClose("logits", logits(model, tokens, pass), wanted, 1e-5, 1);
      assertTrue(!pass.loads().isEmpty());
      for (Pass.ExpertLoad load : pass.loads()) {
        long[] rows = Tensors.longs(load.tokens());
        for (int e = 0; e < rows.length; e++) {
          assertEquals(rows[e], rows[e - e % shards], "the shards of a copy go together");
        }
      }
    }
  }

  /** The weights hold for a training pass too, as long as nothing is drawn. */
  @Test
  public void trainingIsTheSame() {
    try (GptModel dense = dense("--swiglu", ScalarType.Float);
        GptModel model =
            experts(dense, "--num-experts 8 --moe-router-topk 4 --moe-aux-loss-coeff 0.01", 2)) {
      Tensor tokens = tokens();
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 3));
      float[] wanted = logits(dense, tokens, Pass.evaluation());
      assertClose("logits", logits(model, tokens, pass), wanted, 1e-5, 1);
      assertEquals(pass.losses().size(), 3);
    }
  }

  @DataProvider
  public Object[][] roundings() {
    return new Object[][] {
      {"", "--num-experts 4", 1},
      {"--swiglu", "--num-experts 8 --moe-router-topk 4", 2},
      {"--squared-relu --disable-bias-linear", "--num-experts 6 --moe-router-topk 6", 3},
      {
        "",
        "--num-experts 8 --moe-router-topk 4 --moe-router-score-function sigmoid"
            + " --moe-router-topk-scaling-factor 2.5",
        2
      },
    };
  }

  @Test(dataProvider = "roundings")
  public void bf16IsNear(String flags, String experts, int shards) {
    try (GptModel dense = dense(flags, ScalarType.BFloat16);
        GptModel model = experts(dense, experts, shards)) {
      Tensor tokens = tokens();
      float[] wanted = logits(dense, tokens, Pass.evaluation());
      assertClose("logits", logits(model, tokens, Pass.evaluation()), wanted, 2e-2, 1);
    }
  }

  /** Which channel goes where, in numbers: a block of 4 channels, a gate and a value each. */
  @Test
  public void shardsAndCopiesHaveTheirPlaces() {
    String flags = "--num-layers 1 --hidden-size 2 --num-attention-heads 1 --seq-length 4 --swiglu";
    try (GptModel dense =
        GptModel.dense(
            Models.config(flags + " --ffn-hidden-size 4"),
            V,
            Models.parameters(ScalarType.Float))) {
      Models.randomise(dense.parameters(), random, 1);
      String experts =
          "--num-experts 4 --moe-router-score-function sigmoid --moe-router-topk-scaling-factor 4";
      try (GptModel model = experts(dense, experts, 2)) {
        String mlp = "decoder.layers.0.mlp.";
        float[] fc1 = values(dense, mlp + "linear_fc1.weight");
        float[] bias1 = values(dense, mlp + "linear_fc1.bias");
        float[] fc2 = values(dense, mlp + "linear_fc2.weight");
        float[] bias2 = values(dense, mlp + "linear_fc2.bias");
        float[] router = values(model, mlp + "router.weight");
        for (int e = 0; e < 4; e++) {
          int c = 2 * (e % 2);
          assertEquals(
              expert(model, mlp + "experts.linear_fc1.weight", e),
              new float[] {
                fc1[2 * c], fc1[2 * c + 1], fc1[2 * c + 2], fc1[2 * c + 3],
                fc1[2 * c + 8], fc1[2 * c + 9], fc1[2 * c + 10], fc1[2 * c + 11]
              });
          assertEquals(
              expert(model, mlp + "experts.linear_fc1.bias", e),
              new float[] {bias1[c], bias1[c + 1], bias1[c + 4], bias1[c + 5]});
          assertEquals(
              expert(model, mlp + "experts.linear_fc2.weight", e),
              new float[] {fc2[c] / 2, fc2[c + 1] / 2, fc2[c + 4] / 2, fc2[c + 5] / 2});
          assertEquals(
              expert(model, mlp + "experts.linear_fc2.bias", e),
              new float[] {bias2[0] / 4, bias2[1] / 4});
          int first = e - e % 2;
          assertEquals(router[2 * e], router[2 * first]);
          assertEquals(router[2 * e + 1], router[2 * first + 1]);
        }
        assertTrue(router[0] != router[4], "copies have rows of their own");
        assertEquals(
            values(model, GptModel.WORD_EMBEDDINGS), values(dense, GptModel.WORD_EMBEDDINGS));
      }
    }
  }

  private static float[] values(GptModel model, String name) {
    return Tensors.floats(Models.parameter(model.parameters(), name));
  }

  private static float[] expert(GptModel model, String name, int number) {
    return Tensors.floats(Models.parameter(model.parameters(), name).select(0, number));
  }

  /** Routers are those that a new model of the seed would have, but for the shards' rows. */
  @Test
  public void routersAreFresh() {
    try (GptModel dense = dense("", ScalarType.Float);
        GptModel one = experts(dense, "--num-experts 6 --balance-strategy noisy", 1);
        GptModel two = experts(dense, "--num-experts 6 --balance-strategy noisy", 2);
        ParameterSet fresh = Models.parameters(ScalarType.Float)) {
      GptModel model =
          new GptModel(
              dense.config(),
              V,
              Moe.feedForward(dense.config().layerShape(), MoeConfig.parse("--num-experts", "6")),
              fresh);
      for (int layer = 0; layer < 3; layer++) {
        String router = "decoder.layers.%d.mlp.router.".formatted(layer);
        float[] rows = values(model, router + "weight");
        assertEquals(values(one, router + "weight"), rows);
        for (int e = 0; e < 6; e++) {
          System.arraycopy(rows, 16 * (e - e % 2), rows, 16 * e, 16);
        }
        assertEquals(values(two, router + "weight"), rows);
        assertEquals(values(two, router + "noise.weight"), values(one, router + "noise.weight"));
      }
    }
  }

  /** Layers without experts stay as they are, and so does the dense model. */
  @Test
  public void otherLayersStayDense() {
    try (GptModel dense = dense("", ScalarType.Float)) {
      float[] before = values(dense, "decoder.layers.1.mlp.linear_fc2.weight");
      try (GptModel model = experts(dense, "--num-experts 4 --moe-layer-freq 2", 2)) {
        List<String> names =
            model.parameters().all().stream()
                .map(Parameter::name)
                .filter(name -> name.endsWith("linear_fc2.weight"))
                .toList();
        assertEquals(
            names,
            List.of(
                "decoder.layers.0.mlp.experts.linear_fc2.weight",
                "decoder.layers.1.mlp.linear_fc2.weight",
                "decoder.layers.2.mlp.experts.linear_fc2.weight"));
        assertEquals(values(model, "decoder.layers.1.mlp.linear_fc2.weight"), before);
      }
      assertEquals(values(dense, "decoder.layers.1.mlp.linear_fc2.weight"), before);
    }
  }

  @Test
  public void flagsFollowFromTheDenseModel() {
    var dense = Models.config(FLAGS);
    var plain = Models.config(FLAGS + "--disable-bias-linear");
    String experts = "--num-experts 8 --moe-router-topk 4 --moe-aux-loss-coeff 0.01";
    MoeConfig given = MoeConfig.parse(Refusals.words(experts));
    assertEquals(new Upcycling(given, 1).flags(plain.layerShape(), "ffn-hidden-size"), given);
    assertEquals(
        new Upcycling(given, 2).flags(plain.layerShape(), "ffn-hidden-size"),
        MoeConfig.parse(Refusals.words(experts + " --moe-ffn-hidden-size 12")));
    assertEquals(
        new Upcycling(given, 4).flags(dense.layerShape(), "ffn-hidden-size"),
        MoeConfig.parse(Refusals.words(experts + " --moe-ffn-hidden-size 6 --add-expert-bias")));
    assertEquals(
        upcycling(experts + " --moe-ffn-hidden-size 6", 4)
            .flags(plain.layerShape(), "ffn-hidden-size")
            .moeFfnHiddenSize(),
        6);
  }

  @DataProvider
  public Object[][] notes() {
    String factor = "--moe-expert-capacity-factor 2.0";
    return new Object[][] {
      {"", 1, List.of()},
      {"--balance-strategy naive", 2, List.of()},
      {"--balance-strategy noisy", 1, List.of()},
      {
        factor, 1, List.of(factor + ": logits are the dense model's as long as no token is dropped")
      },
      {
        "--balance-strategy swipe",
        2,
        List.of(
            "--balance-strategy swipe: logits are the dense model's in evaluation; in training a"
                + " token gets shards of several copies")
      },
      {"--moe-router-force-load-balancing", 1, List.of()},
      {
        "--moe-router-force-load-balancing",
        2,
        List.of(
            "--moe-router-force-load-balancing: logits are the dense model's in evaluation; in"
                + " training a token gets shards of several copies")
      },
      {
        "--balance-strategy gshard",
        1,
        List.of(
            "--balance-strategy gshard has a capacity: logits are the dense model's as long as no"
                + " token is dropped",
            "--balance-strategy gshard: logits are the dense model's in evaluation; in training"
                + " second experts are left out at random")
      },
    };
  }

  @Test(dataProvider = "notes")
  public void whatItDependsOnIsSaid(String flags, int shards, List<String> notes) {
    assertEquals(upcycling(("--num-experts 4 " + flags).strip(), shards).notes(), notes);
  }

  /** A gate of one's own. */
  public static final class OwnGate implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      return new NaiveGate(shape, parameters);
    }
  }

  @DataProvider
  public Object[][] refusals() {
    String varies =
        ": the weights of a token's experts do not add up to a constant, so that logits would not"
            + " be the dense model's";
    String own = OwnGate.class.getName();
    return new Object[][] {
      {"", 1, "--num-experts is required: the experts of each MoE layer"},
      {"--num-experts 4 --moe-router-pre-softmax", 1, "--moe-router-pre-softmax" + varies},
      {
        "--num-experts 1 --moe-router-topk 1 --moe-router-score-function sigmoid",
        1,
        "--moe-router-score-function sigmoid with --moe-router-topk 1" + varies
      },
      {
        "--num-experts 4 --moe-router-topk 1 --moe-router-score-function sqrtsoftplus",
        1,
        "--moe-router-score-function sqrtsoftplus with --moe-router-topk 1" + varies
      },
      {
        "--num-experts 4 --balance-strategy switch --top-k 1",
        1,
        "--balance-strategy switch" + varies
      },
      {
        "--num-experts 4 --balance-strategy expert_choice",
        1,
        "--balance-strategy expert_choice" + varies
      },
      {
        "--num-experts 4 --balance-strategy " + own,
        1,
        "--balance-strategy "
            + own
            + ": whether the weights of a gate of your own add up to 1 is not known"
      },
      {
        "--num-experts 4 --moe-shared-expert-intermediate-size 8",
        1,
        "--moe-shared-expert-intermediate-size 8: a shared expert would add to the dense block's"
            + " output, so that logits would not be the dense model's"
      },
      {"--num-experts 4", 0, "--moe-upcycling-granularity 0 is not positive"},
      {
        "--num-experts 6 --moe-router-topk 4",
        4,
        "--num-experts 6 is no multiple of --moe-upcycling-granularity 4"
      },
      {
        "--num-experts 8",
        4,
        "--moe-router-topk 2 is no multiple of --moe-upcycling-granularity 4: a token would get a"
            + " part of the dense block"
      },
      {
        "--num-experts 12 --moe-router-topk 4 --moe-router-num-groups 4 --moe-router-group-topk 2",
        2,
        "--moe-router-num-groups 4 has groups of 3 experts, no multiple of"
            + " --moe-upcycling-granularity 2: a token would get a part of the dense block"
      },
      {
        "--num-experts 4 --fmoefy",
        1,
        "--fmoefy makes experts of 1/2 of the dense hidden size (--moe-router-topk),"
            + " --moe-upcycling-granularity of 1/1"
      },
      {
        "--num-experts 10 --moe-router-topk 5",
        5,
        "--moe-upcycling-granularity 5 does not divide the dense model's --ffn-hidden-size 24"
      },
      {
        "--num-experts 4 --moe-ffn-hidden-size 24",
        2,
        "--moe-ffn-hidden-size 24: of the dense model's --ffn-hidden-size 24,"
            + " --moe-upcycling-granularity 2 makes experts of 12"
      },
      {
        "--num-experts 4 --moe-layer-freq [0]*3",
        1,
        "--moe-layer-freq [0]*3 leaves no layer for experts: have a 1 in it, or leave out"
            + " --num-experts"
      },
    };
  }

  @Test(dataProvider = "refusals")
  public void whatWouldNotBeEqualIsRefused(String experts, int shards, String sentence) {
    String refused =
        expectThrows(
                IllegalArgumentException.class,
                () ->
                    upcycling(experts, shards)
                        .flags(Models.config(FLAGS).layerShape(), "ffn-hidden-size"))
            .getMessage();
    assertEquals(refused, sentence);
  }

  @Test
  public void onlyDenseModelsAreTaken() {
    try (GptModel dense = dense("", ScalarType.Float);
        GptModel model = experts(dense, "--num-experts 4", 1);
        GptModel other =
            new GptModel(
                dense.config(),
                V,
                (layer, parameters) -> {
                  Tensor own = parameters.weight("own", 1, 16);
                  return (hidden, pass) -> hidden.mul(own);
                },
                Models.parameters(ScalarType.Float))) {
      assertEquals(refusal(model), "the model has experts already");
      String sentence = refusal(other);
      assertTrue(sentence.startsWith("the model's feed-forward blocks have ["), sentence);
      assertTrue(sentence.contains("decoder.layers.2.mlp.own"), sentence);
    }
  }

  private static String refusal(GptModel model) {
    return expectThrows(
            IllegalArgumentException.class, () -> experts(model, "--num-experts 4", 1).close())
        .getMessage();
  }
}
