package moe4j.tests;

import static moe4j.tensor.Tensors.floats;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import moe4j.config.Flags;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeLayer;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.transformer.Batch;
import moe4j.transformer.FeedForward;
import moe4j.transformer.Mlp;
import moe4j.transformer.Parameter;
import moe4j.transformer.Parameter.Piece;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Whole models against PyTorch's, with the same weights. */
public class GoldenModelTest {
  /** The relative Frobenius norm within which fp32 values agree. */
  private static final double FP32 = 1e-4;

  /**
   * Norms below this count as this, so the absolute floor is 1e-6. These models' gradients have
   * norms of 0.08 and more, but for a key bias: its true gradient is 0, as a softmax does not see
   * what all its inputs share, and what is computed are roundings, 2e-8 of them in norm.
   */
  private static final double FLOOR = 1e-2;

  /** bf16 has 8 bits: each rounding is up to 4e-3, and errors grow through the layers. */
  private static final double BF16 = 3e-2;

  /** Gradients go through all layers twice. */
  private static final double BF16_GRADIENT = 1e-1;

  /** Continuous integration has a CPU; {@code -Dmoe4j.test.device=cuda} takes a GPU. */
  private static final String DEVICE = System.getProperty("moe4j.test.device", "cpu");

  @DataProvider
  public Object[][] models() {
    return new Object[][] {{"gpt2"}, {"llama"}, {"mixtral"}, {"qwen3"}};
  }

  @Test(dataProvider = "models")
  public void namesAreMegatrons(String name) throws IOException {
    try (Golden golden = Golden.model(name);
        GptModel model = model(golden, ScalarType.Float)) {
      Set<String> names = new TreeSet<>();
      for (Parameter parameter : model.parameters().all()) {
        for (Piece piece : parameter.pieces()) {
          assertTrue(names.add(piece.name()), piece.name());
          assertEquals(
              piece.of(parameter.tensor()).shape(),
              golden.tensor(piece.name()).shape(),
              piece.name());
        }
      }
      assertEquals(names, golden.parameters());
    }
  }

  @Test(dataProvider = "models")
  public void lossesAndGradientsArePyTorchs(String name) throws IOException {
    try (PointerScope scope = new PointerScope();
        Golden golden = Golden.model(name);
        GptModel model = model(golden, ScalarType.Float)) {
      load(model.parameters(), golden);
      Batch batch = batch(golden);
      Pass pass = Pass.training(new StepRandom(1, 0, 0, batch.tokens().size(0)));
      check(golden, "output.logits", model.logits(batch, Pass.evaluation()), FP32);
      Tensor losses = model.loss(batch, pass);
      check(golden, "output.token_loss", losses, FP32);
      Tensor loss = mean(losses, batch);
      check(golden, "output.loss", loss, FP32);
      if (golden.contains("output.aux_loss")) {
        check(golden, "output.aux_loss", side(pass, "load_balancing_loss").orElseThrow(), FP32);
        check(golden, "output.z_loss", side(pass, "z_loss").orElseThrow(), FP32);
        checkLoads(golden, pass);
      }
      sides(pass).map(loss::add).orElse(loss).backward();
      checkGradients(golden, model, FP32);
    }
  }

  @Test(dataProvider = "models")
  public void bf16IsNear(String name) throws IOException {
    try (PointerScope scope = new PointerScope();
        Golden golden = Golden.model(name);
        GptModel model = model(golden, ScalarType.BFloat16)) {
      load(model.parameters(), golden);
      Batch batch = batch(golden);
      Pass pass = Pass.training(new StepRandom(1, 0, 0, batch.tokens().size(0)));
      Tensor logits = model.logits(batch, Pass.evaluation());
      assertEquals(Tensors.dtype(logits), ScalarType.BFloat16);
      check(golden, "output.logits", logits, BF16);
      Tensor losses = model.loss(batch, pass);
      assertEquals(Tensors.dtype(losses), ScalarType.Float);
      check(golden, "output.token_loss", losses, BF16);
      Tensor loss = mean(losses, batch);
      check(golden, "output.loss", loss, BF16);
      sides(pass).map(loss::add).orElse(loss).backward();
      checkGradients(golden, model, BF16_GRADIENT);
    }
  }

  /** A key bias stands among those of queries and values, whose gradients would hide it. */
  @Test
  public void keyBiasesHaveNoGradient() throws IOException {
    try (PointerScope scope = new PointerScope();
        Golden golden = Golden.model("gpt2");
        GptModel model = model(golden, ScalarType.Float)) {
      load(model.parameters(), golden);
      Batch batch = batch(golden);
      mean(model.loss(batch, Pass.evaluation()), batch).backward();
      GptConfig config = model.config();
      int heads = config.numAttentionHeads();
      for (Parameter parameter : model.parameters().all()) {
        if (parameter.name().endsWith("linear_qkv.bias")) {
          Tensor parts = parameter.tensor().grad().view(heads, 3, config.kvChannels());
          float[] keys = floats(parts.select(1, 1));
          Close.assertClose(parameter.name(), keys, new double[keys.length], FP32, FLOOR);
          double queries = Close.norm(Close.doubles(floats(parts.select(1, 0))));
          assertTrue(queries > FLOOR, "queries' biases: " + queries);
        }
      }
    }
  }

  private static void check(Golden golden, String name, Tensor actual, double relative)
      throws IOException {
    Close.assertClose(name, floats(actual), floats(golden.tensor(name)), relative, FLOOR);
  }

  private static void checkLoads(Golden golden, Pass pass) throws IOException {
    for (Pass.ExpertLoad load : pass.loads()) {
      Tensor chosen = golden.tensor("output.layers." + load.layer() + ".chosen_experts");
      long[] counts = new long[Math.toIntExact(load.tokens().numel())];
      for (long expert : Tensors.longs(chosen)) {
        counts[(int) expert]++;
      }
      assertEquals(Tensors.longs(load.tokens()), counts, "layer " + load.layer());
    }
    assertEquals(pass.loads().size(), 2);
  }

  private static void checkGradients(Golden golden, GptModel model, double relative)
      throws IOException {
    for (Parameter parameter : model.parameters().all()) {
      for (Piece piece : parameter.pieces()) {
        check(golden, "grad." + piece.name(), piece.of(parameter.tensor().grad()), relative);
      }
    }
  }

  /** The losses beside the main one, as they join it. */
  private static Optional<Tensor> sides(Pass pass) {
    return side(pass, ".*");
  }

  private static Optional<Tensor> side(Pass pass, String name) {
    return pass.losses().stream()
        .filter(loss -> loss.name().matches(name))
        .map(loss -> loss.value().mul(new Scalar(loss.coefficient())))
        .reduce(Tensor::add);
  }

  private static Tensor mean(Tensor losses, Batch batch) {
    return losses.mul(batch.lossMask()).sum().div(batch.lossMask().sum());
  }

  private static Batch batch(Golden golden) throws IOException {
    return new Batch(
        input(golden, "input.tokens", ScalarType.Long),
        input(golden, "input.labels", ScalarType.Long),
        input(golden, "input.loss_mask", ScalarType.Float),
        null,
        null);
  }

  private static Tensor input(Golden golden, String name, ScalarType dtype) throws IOException {
    return golden.tensor(name).to(new Device(DEVICE), dtype);
  }

  private static GptModel model(Golden golden, ScalarType dtype) {
    Flags.Parsed flags =
        Flags.of(GptConfig.class, MoeConfig.class).parse(golden.metadata("flags").split(" ", -1));
    GptConfig config = flags.get(GptConfig.class);
    MoeConfig moe = flags.get(MoeConfig.class);
    int vocabulary = config.paddedVocabulary(Integer.parseInt(golden.metadata("vocab_size")));
    assertEquals(Integer.toString(vocabulary), golden.metadata("padded_vocab_size"));
    FeedForward.Factory feedForward =
        (layer, scope) ->
            moe.enabled()
                ? MoeLayer.create(config.layerShape(), moe, layer, scope)
                : new Mlp(config.layerShape(), layer, scope);
    return new GptModel(
        config, vocabulary, feedForward, new ParameterSet(1, dtype, new Device(DEVICE)));
  }

  private static void load(ParameterSet parameters, Golden golden) throws IOException {
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        for (Piece piece : parameter.pieces()) {
          piece.of(parameter.tensor()).copy_(golden.tensor(piece.name()));
        }
      }
    }
  }
}
