package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import moe4j.config.Flags;
import moe4j.data.Part;
import moe4j.data.stream.SegmentDataset;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import moe4j.transformer.Batch;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What is remembered from segment to segment, and what is not. */
public class MemoryTest {
  private static final int SYMBOLS = 11;
  private static final int ROWS = 3;

  private final Random random = Seeds.random(MemoryTest.class);

  private static TransformerXlConfig config(String lengths) {
    String shape =
        "--n-layer 3 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --init-std 0.3 " + lengths;
    return Flags.parse(TransformerXlConfig.class, shape.split(" "));
  }

  private static ParameterSet parameters() {
    return new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"));
  }

  private static TransformerXl model(TransformerXlConfig config, ParameterSet parameters) {
    return TransformerXl.create(
        config, SYMBOLS, ROWS, Moe.feedForward(config.layerShape(), MoeConfig.dense()), parameters);
  }

  private byte[] stream(int columnLength) {
    byte[] stream = new byte[ROWS * columnLength];
    for (int i = 0; i < stream.length; i++) {
      stream[i] = (byte) random.nextInt(SYMBOLS);
    }
    return stream;
  }

  private static SegmentDataset segments(byte[] stream, TransformerXlConfig config, int epochs) {
    return new SegmentDataset("train", stream, ROWS, config.tgtLen(), config.extLen(), epochs);
  }

  private static List<float[]> memories(TransformerXl model) {
    return model.memories().stream().map(Tensors::floats).toList();
  }

  private static void assertSame(List<float[]> actual, List<float[]> expected) {
    assertEquals(actual.size(), expected.size());
    for (int i = 0; i < actual.size(); i++) {
      assertEquals(actual.get(i), expected.get(i), "layer " + i);
    }
  }

  @DataProvider
  public Object[][] lengths() {
    return new Object[][] {
      {"--tgt-len 5 --mem-len 5"},
      {"--tgt-len 5 --mem-len 3"},
      {"--tgt-len 5 --mem-len 17"},
      {"--tgt-len 5 --mem-len 0"},
      {"--tgt-len 5 --mem-len 8 --ext-len 2"},
      {"--tgt-len 5 --mem-len 8 --same-length --clamp-len 6"},
      {"--tgt-len 5 --mem-len 8 --pre-lnorm"},
    };
  }

  /**
   * With the same weights every epoch has the same losses bit for bit, although the memories are
   * full when the second begins, and what is behind the short last segment is no text at all.
   */
  @Test(dataProvider = "lengths")
  public void anEpochBeginsWithNothing(String lengths) {
    TransformerXlConfig config = config(lengths);
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters()) {
      TransformerXl model = model(config, parameters);
      // 22 targets: four segments of 5 and one of 2.
      SegmentDataset data = segments(stream(23), config, 3);
      assertEquals(data.segments(), 5);
      List<float[]> first = new ArrayList<>();
      for (int n = 0; n < 15; n++) {
        float[] losses = Segments.losses(model, Segments.batch(data, n));
        if (n < 5) {
          first.add(losses);
        } else {
          assertEquals(losses, first.get(n % 5), "segment " + n);
        }
      }
      // Nor does it matter what garbage the memories hold.
      try (NoGradGuard guard = new NoGradGuard()) {
        model.memories().forEach(memory -> memory.fill_(new Scalar(1e4)));
      }
      assertEquals(Segments.losses(model, Segments.batch(data, 0)), first.get(0));
      assertEquals(Segments.losses(model, Segments.batch(data, 1)), first.get(1));
    }
  }

  /**
   * A memory that holds all there was is as good as one long segment: brute force for what is kept,
   * in which order and with which distances.
   */
  @Test
  public void segmentsWithMemoryAreOneLongText() {
    TransformerXlConfig parts = config("--tgt-len 5 --mem-len 30");
    TransformerXlConfig whole = config("--tgt-len 22 --mem-len 0");
    byte[] stream = stream(23);
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters()) {
      TransformerXl model = model(parts, parameters);
      TransformerXl atOnce = model.with(whole.lengths(), ROWS);
      float[] expected = Segments.losses(atOnce, Segments.batch(segments(stream, whole, 1), 0));
      SegmentDataset data = segments(stream, parts, 1);
      float[] actual = new float[expected.length];
      for (int n = 0; n < data.segments(); n++) {
        float[] losses = Segments.losses(model, Segments.batch(data, n));
        for (int row = 0; row < ROWS; row++) {
          System.arraycopy(losses, row * 5, actual, row * 22 + n * 5, Math.min(5, 22 - n * 5));
        }
      }
      Close.assertClose("losses", actual, expected, 1e-5, 1e-3);
    }
  }

  /** Without memory a segment is a text by itself; with one it is not. */
  @Test
  public void withoutMemorySegmentsAreTexts() {
    TransformerXlConfig none = config("--tgt-len 5 --mem-len 0");
    TransformerXlConfig some = config("--tgt-len 5 --mem-len 2");
    byte[] stream = stream(21);
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters()) {
      TransformerXl forgets = model(none, parameters);
      TransformerXl remembers = forgets.with(some.lengths(), ROWS);
      assertEquals(forgets.memories().size(), 0);
      assertEquals(parameters.buffers().size(), 0);
      SegmentDataset data = segments(stream, none, 1);
      for (int n = 0; n < 4; n++) {
        byte[] alone = new byte[ROWS * 6];
        for (int row = 0; row < ROWS; row++) {
          System.arraycopy(stream, row * 21 + n * 5, alone, row * 6, 6);
        }
        Batch batch = Segments.batch(data, n);
        float[] own = Segments.losses(forgets, batch);
        assertEquals(own, Segments.losses(forgets, Segments.batch(segments(alone, none, 1), 0)));
        float[] other = Segments.losses(remembers, batch);
        if (n == 0) {
          Close.assertClose("first", other, own, 1e-5, 1e-3);
        } else {
          assertTrue(Close.distance(Close.doubles(other), Close.doubles(own)) > 1e-2, "" + n);
        }
      }
    }
  }

  /** A step whose hidden states are no numbers leaves numbers behind, and the next is one. */
  @Test
  public void whatIsNotFiniteIsForgotten() {
    TransformerXlConfig config = config("--tgt-len 5 --mem-len 9");
    for (double bad : List.of(Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY)) {
      try (PointerScope scope = new PointerScope();
          ParameterSet parameters = parameters()) {
        TransformerXl model = model(config, parameters);
        SegmentDataset data = segments(stream(41), config, 1);
        Segments.losses(model, Segments.batch(data, 0));
        List<float[]> weights = poison(parameters, bad);
        for (float loss : Segments.losses(model, Segments.batch(data, 1))) {
          assertTrue(Float.isNaN(loss), "%s gives %s".formatted(bad, loss));
        }
        assertFinite(memories(model), "memory");
        restore(parameters, weights);
        for (int n = 2; n < 8; n++) {
          assertFinite(List.of(Segments.losses(model, Segments.batch(data, n))), "segment " + n);
          assertFinite(memories(model), "memory");
        }
      }
    }
  }

  private static void assertFinite(List<float[]> values, String what) {
    for (float[] each : values) {
      for (float value : each) {
        assertTrue(Float.isFinite(value), what + " has " + value);
      }
    }
  }

  private static List<float[]> poison(ParameterSet parameters, double value) {
    List<float[]> before = new ArrayList<>();
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        before.add(Tensors.floats(parameter.tensor()));
        if (parameter.name().startsWith("embedding")) {
          parameter.tensor().fill_(new Scalar(value));
        }
      }
    }
    return before;
  }

  private static void restore(ParameterSet parameters, List<float[]> weights) {
    try (NoGradGuard guard = new NoGradGuard()) {
      for (int i = 0; i < weights.size(); i++) {
        Tensor tensor = parameters.all().get(i).tensor();
        tensor.copy_(Tensors.of(weights.get(i), tensor.shape()));
      }
    }
  }

  /** An evaluation in the middle has memories of its own. */
  @Test
  public void anEvaluationLeavesTheTrainingsMemories() {
    TransformerXlConfig config = config("--tgt-len 6 --mem-len 6");
    byte[] other = stream(30);
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters()) {
      TransformerXl model = model(config, parameters);
      TransformerXl evaluated = model.with(config.lengths().evaluation(4), 2);
      assertEquals(evaluated.lengths().memory(), 8);
      SegmentDataset data = segments(stream(41), config, 1);
      SegmentDataset valid = new SegmentDataset("valid", other, 2, 4, 0, 1);
      Segments.losses(model, Segments.batch(data, 0));
      List<float[]> before = memories(model);
      for (int n = 0; n < valid.segments(); n++) {
        Segments.losses(evaluated, Segments.batch(valid, n));
      }
      assertSame(memories(model), before);
      assertNotEquals(memories(evaluated).get(1)[0], 0.0f);
      // What is saved and trained is the model's alone.
      assertEquals(parameters.buffers().size(), 3);
    }
  }

  /** The whole of a run: no step's loss depends on whether there are evaluations. */
  @Test
  public void evaluationsChangeNothing() throws IOException {
    try (TempDir folder = new TempDir()) {
      Object[] data = {
        "--data-file", folder.text("text", random, 1400), "--split-bytes", "600,400,400"
      };
      String flags = SmallRun.SHAPE + " --max-step 12 --eval-interval ";
      SmallRun without = SmallRun.of(SmallRun.parse(flags + 100, data));
      SmallRun with = SmallRun.of(SmallRun.parse(flags + 1, data));
      assertEquals(with.validation.size(), 12);
      assertEquals(without.validation.size(), 1);
      assertEquals(with.losses, without.losses);
      assertEquals(with.validation.get(12), without.validation.get(12));
    }
  }

  /**
   * In a run, the first loss of each epoch is that of a fresh model with the weights of the step
   * before: nothing is remembered, whatever the loop did.
   */
  @Test
  public void aRunsEpochsBeginWithNothing() throws IOException {
    try (TempDir folder = new TempDir();
        PointerScope scope = new PointerScope()) {
      TransformerXlRun run =
          SmallRun.parse(
              SmallRun.SHAPE + " --max-step 16 --eval-interval 100 --vocabulary bytes",
              "--data-file",
              folder.text("text", random, 1000),
              "--split-bytes",
              "160,0,0");
      Map<Integer, Map<String, float[]>> weights = new TreeMap<>();
      SmallRun small =
          SmallRun.of(run, each -> weights.put(each.last(), new TreeMap<>(each.weights)));
      // 40 symbols a column: six segments of 6 and one of 3.
      SegmentDataset data = run.corpus().open().segments(Part.TRAIN, 4, 6, 0, 3);
      assertEquals(data.segments(), 7);
      int compared = 0;
      for (int step = 2; step <= 16; step++) {
        double fresh = freshLoss(run, weights.get(step - 1), Segments.batch(data, step - 1));
        if ((step - 1) % 7 == 0) {
          compared++;
          assertEquals(small.losses.get(step), fresh, 1e-6, "step " + step);
        } else {
          assertNotEquals(small.losses.get(step), fresh, 1e-6, "step " + step);
        }
      }
      assertEquals(compared, 2);
    }
  }

  private static double freshLoss(TransformerXlRun run, Map<String, float[]> weights, Batch batch) {
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters()) {
      TransformerXl model =
          TransformerXl.create(
              run.model(),
              256,
              4,
              Moe.feedForward(run.model().layerShape(), MoeConfig.dense()),
              parameters);
      restore(parameters, parameters.all().stream().map(p -> weights.get(p.name())).toList());
      double sum = 0;
      for (float loss : Segments.losses(model, batch)) {
        sum += loss;
      }
      return sum / Tensors.item(batch.lossMask().sum());
    }
  }
}
