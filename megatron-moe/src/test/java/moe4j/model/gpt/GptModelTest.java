package moe4j.model.gpt;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.LongStream;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GptModelTest {
  private static final int V = 32;
  private static final String FLAGS =
      "--num-layers 2 --hidden-size 16 --num-attention-heads 2 --seq-length 12 ";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GptModelTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static GptModel model(String flags) {
    return GptModel.dense(Models.config(FLAGS + flags), V, Models.parameters(ScalarType.Float));
  }

  private GptModel randomised(String flags) {
    GptModel model = model(flags);
    Models.randomise(model.parameters(), random, 0.3);
    return model;
  }

  private static Batch batch(Tensor tokens, Tensor positions, Tensor documents) {
    return new Batch(tokens, tokens, null, positions, documents);
  }

  @DataProvider
  public Object[][] positions() {
    return new Object[][] {
      {"--position-embedding-type learned_absolute"},
      {"--position-embedding-type rope"},
      {"--position-embedding-type none"},
      {"--position-embedding-type rope --attention-dropout 1e-12"},
    };
  }

  /** Documents of 5 and 7 tokens packed into a row, each as if it stood alone. */
  @Test(dataProvider = "positions")
  public void packedDocumentsAreSeparateOnes(String flags) {
    try (GptModel model = randomised(flags)) {
      Tensor tokens = Models.tokens(random, V, 2, 12);
      Tensor positions = Tensors.of(ramps(5, 7, 5, 7), 2, 12);
      Tensor documents = Tensors.of(numbers(5, 7), 1, 12).expand(2, 12).contiguous();
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 2));
      Tensor packed = model.logits(batch(tokens, positions, documents), pass);
      Tensor upstream = Models.normals(random, 2, 12, V);
      packed.mul(upstream).sum().backward();
      float[][] gradients = gradients(model);

      for (int[] range : new int[][] {{0, 5}, {5, 12}}) {
        Tensor part = Tensors.slice(tokens, 1, range[0], range[1]).contiguous();
        Pass own = Pass.training(new StepRandom(1, 0, 0, 2));
        Tensor alone = model.logits(batch(part, null, null), own);
        assertClose(
            "tokens " + Arrays.toString(range),
            Tensors.floats(Tensors.slice(packed, 1, range[0], range[1])),
            Tensors.floats(alone),
            1e-5,
            1);
        alone.mul(Tensors.slice(upstream, 1, range[0], range[1])).sum().backward();
      }
      float[][] separate = gradients(model);
      for (int i = 0; i < separate.length; i++) {
        String name = model.parameters().all().get(i).name();
        assertClose(name, gradients[i], separate[i], 1e-4, 1e-2);
      }
    }
  }

  /** The gradients, which are forgotten. */
  private static float[][] gradients(GptModel model) {
    return model.parameters().all().stream()
        .map(
            parameter -> {
              float[] values = Tensors.floats(parameter.tensor().grad());
              parameter.tensor().mutable_grad().reset();
              return values;
            })
        .toArray(float[][]::new);
  }

  private static long[] ramps(int... lengths) {
    return Arrays.stream(lengths).asLongStream().flatMap(n -> LongStream.range(0, n)).toArray();
  }

  private static long[] numbers(int... lengths) {
    return LongStream.range(0, lengths.length)
        .flatMap(i -> LongStream.generate(() -> i).limit(lengths[(int) i]))
        .toArray();
  }

  /** Exactly, not nearly: what is masked counts zero times. */
  @Test(dataProvider = "positions")
  public void aDocumentDoesNotDependOnTheOneBefore(String flags) {
    try (GptModel model = randomised(flags)) {
      Tensor tokens = Models.tokens(random, V, 1, 12);
      Tensor others = tokens.clone();
      Tensor first = Tensors.slice(others, 1, 0, 5);
      first.copy_(first.add(new Scalar(1)).fmod(new Scalar(V)));
      Tensor documents = Tensors.of(numbers(5, 7), 1, 12);
      Pass pass = Pass.evaluation();
      Tensor before = model.logits(batch(tokens, null, documents), pass);
      Tensor after = model.logits(batch(others, null, documents), pass);
      assertEquals(
          Tensors.floats(Tensors.slice(after, 1, 5, 12)),
          Tensors.floats(Tensors.slice(before, 1, 5, 12)));
      // Without the documents they do depend on it.
      Tensor open = model.logits(batch(others, null, null), pass);
      assertFalse(
          Arrays.equals(
              Tensors.floats(Tensors.slice(open, 1, 5, 12)),
              Tensors.floats(Tensors.slice(before, 1, 5, 12))));
    }
  }

  @Test
  public void givenPositionsThatAreTheUsualOnesChangeNothing() {
    for (String type : new String[] {"learned_absolute", "rope"}) {
      try (GptModel model = randomised("--position-embedding-type " + type)) {
        Tensor tokens = Models.tokens(random, V, 2, 12);
        Tensor usual = model.logits(batch(tokens, null, null), Pass.evaluation());
        Tensor positions = Tensors.of(ramps(12, 12), 2, 12);
        Tensor given = model.logits(batch(tokens, positions, null), Pass.evaluation());
        assertEquals(Tensors.floats(given), Tensors.floats(usual));
      }
    }
  }

  /** Dropout everywhere: a batch of four is two of two, in loss and gradients. */
  @Test
  public void aStepDoesNotDependOnHowItsBatchIsCut() {
    String flags = "--hidden-dropout 0.2 --attention-dropout 0.2";
    try (GptModel model = randomised(flags)) {
      Tensor tokens = Models.tokens(random, V, 4, 12);
      Tensor whole =
          model.loss(batch(tokens, null, null), Pass.training(new StepRandom(3, 7, 0, 4)));
      whole.sum().backward();
      float[][] gradients = gradients(model);
      for (int from = 0; from < 4; from += 2) {
        Tensor part = Tensors.slice(tokens, 0, from, from + 2);
        Pass pass = Pass.training(new StepRandom(3, 7, from, 2));
        Tensor losses = model.loss(batch(part, null, null), pass);
        assertClose(
            "losses",
            Tensors.floats(losses),
            Tensors.floats(Tensors.slice(whole, 0, from, from + 2)),
            1e-6,
            1);
        losses.sum().backward();
      }
      float[][] cut = gradients(model);
      for (int i = 0; i < cut.length; i++) {
        assertClose(model.parameters().all().get(i).name(), cut[i], gradients[i], 1e-5, 1e-2);
      }
      Tensor evaluated = model.loss(batch(tokens, null, null), Pass.evaluation());
      assertTrue(
          Close.distance(
                  Close.doubles(Tensors.floats(evaluated)), Close.doubles(Tensors.floats(whole)))
              > 0.1,
          "dropout had no effect");
    }
  }

  /** Megatron's: std, std / sqrt(2 L) into the residual, ones and zeros; none but weights decay. */
  @Test
  public void initialWeights() {
    String flags =
        "--num-layers 8 --hidden-size 64 --num-attention-heads 2 --seq-length 64"
            + " --init-method-std 0.05 --untie-embeddings-and-output-weights";
    try (GptModel model =
        GptModel.dense(Models.config(flags), 256, Models.parameters(ScalarType.Float))) {
      int weights = 0;
      for (Parameter parameter : model.parameters().all()) {
        String name = parameter.name();
        float[] values = Tensors.floats(parameter.tensor());
        if (name.endsWith(".bias") || name.endsWith("layernorm.weight")) {
          float[] expected = new float[values.length];
          Arrays.fill(expected, name.endsWith(".bias") ? 0 : 1);
          assertEquals(values, expected, name);
          assertFalse(parameter.decay(), name);
          continue;
        }
        boolean residual = name.endsWith("linear_proj.weight") || name.endsWith("fc2.weight");
        double std = residual ? 0.05 / 4 : 0.05;
        double actual = Close.norm(Close.doubles(values)) / Math.sqrt(values.length);
        assertEquals(actual, std, 6 * std / Math.sqrt(2.0 * values.length), name);
        assertTrue(parameter.decay(), name);
        weights++;
      }
      assertEquals(weights, 3 + 8 * 4);
    }
  }

  @Test
  public void aSequenceThatIsTooLongIsRefused() {
    try (GptModel model = model("--position-embedding-type rope")) {
      Batch batch = batch(Models.tokens(random, V, 1, 13), null, null);
      assertEquals(
          expectThrows(IllegalArgumentException.class, () -> model.logits(batch, Pass.evaluation()))
              .getMessage(),
          "a sequence of 13 tokens, --max-position-embeddings is 12");
    }
  }

  /** A step's native objects are gone with its scope, where that is the outermost one. */
  @Test
  public void aStepLeavesNothing() {
    scope.close();
    try (GptModel model = randomised("--position-embedding-type rope --hidden-dropout 0.1")) {
      Tensor tokens = Scopes.keep(() -> Models.tokens(random, V, 2, 12));
      long before = 0;
      for (int step = 0; step < 5; step++) {
        if (step == 2) {
          before = Scopes.livePointers();
        }
        Scopes.run(
            () -> {
              Pass pass = Pass.training(new StepRandom(1, 0, 0, 2));
              model.loss(batch(tokens, null, null), pass).sum().backward();
            });
      }
      assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
      tokens.close();
    } finally {
      scope = new PointerScope();
    }
  }
}
