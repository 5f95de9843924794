package moe4j.model.txl;

import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.data.stream.SegmentDataset;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Batch;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What experts are told does not depend on how far segments are padded. */
public class PaddedExpertsTest {
  private static final int SYMBOLS = 11;
  private static final String SIGMOID =
      "--moe-router-score-function sigmoid --moe-router-enable-expert-bias ";
  private static final String LOSSES =
      "--moe-router-load-balancing-type aux_loss seq_aux_loss global_aux_loss"
          + " --moe-aux-loss-coeff 0.3 0.2 0.1 --moe-z-loss-coeff 0.05 ";

  private final Random random = Seeds.random(PaddedExpertsTest.class);

  /** Figures of a pass by name and layer, and the loads. */
  private record Seen(Map<String, Double> figures, List<long[]> loads, List<Long> asked) {}

  private static TransformerXlConfig config(String lengths) {
    String shape =
        "--n-layer 2 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --dropout 0 --init-std 0.3 ";
    return Flags.parse(TransformerXlConfig.class, (shape + lengths).strip().split(" "));
  }

  /** Gives every parameter values that have an effect: norms around 1, biases around 0. */
  private static void randomise(ParameterSet parameters) {
    Random random = new Random(Seeds.seed());
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        Tensor t = parameter.tensor();
        float[] values = Seeds.normals(random, Math.toIntExact(t.numel()));
        float mean = parameter.name().endsWith("norm.weight") ? 1 : 0;
        for (int i = 0; i < values.length; i++) {
          values[i] = mean + 0.3f * values[i];
        }
        t.copy_(Tensors.of(values, t.shape()));
      }
    }
  }

  /** The n-th segment of all columns. */
  private static Seen see(
      byte[] stream, int columns, String lengths, String gate, boolean training, int segment) {
    TransformerXlConfig config = config(lengths);
    MoeConfig moe =
        MoeConfig.parse(
            ("--num-experts 4 --moe-ffn-hidden-size 12 --add-expert-bias " + gate)
                .strip()
                .split(" "));
    TransformerXlConfig.Lengths l = config.lengths();
    SegmentDataset data = new SegmentDataset("a", stream, columns, l.target(), l.extended(), 1);
    try (ParameterSet parameters =
            new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"));
        PointerScope scope = new PointerScope()) {
      TransformerXl model =
          TransformerXl.create(
              config, SYMBOLS, columns, Moe.feedForward(config.layerShape(), moe), parameters);
      randomise(parameters);
      for (int n = 0; n < segment; n++) {
        model.loss(Segments.batch(data, n), Pass.evaluation());
      }
      Pass pass = training ? Pass.training(new StepRandom(11, 0, 0, columns)) : Pass.evaluation();
      Batch batch = Segments.batch(data, segment);
      Tensor losses = model.loss(batch, pass).mul(batch.lossMask());
      Map<String, Double> figures = new LinkedHashMap<>();
      figures.put("loss", Tensors.item(losses.sum()));
      pass.losses().forEach(s -> figures.put(s.name() + s.layer(), Tensors.item(s.value())));
      pass.figures().forEach(s -> figures.put(s.name() + s.layer(), Tensors.item(s.value())));
      List<long[]> loads = new ArrayList<>();
      List<Long> asked = new ArrayList<>();
      for (Pass.ExpertLoad load : pass.loads()) {
        loads.add(Tensors.longs(load.tokens()));
        asked.add(load.routed() - Tensors.longs(load.unasked())[0]);
      }
      return new Seen(figures, loads, asked);
    }
  }

  /**
   * Columns that begin with different symbols, and none with the same symbol twice: what is equal
   * in two columns would be computed alike, as is a symbol that has seen only its like, and which
   * of the two an expert keeps would be up to rounding.
   */
  private byte[] stream(int columns, int length) {
    byte[] stream = new byte[columns * length];
    int first = random.nextInt(SYMBOLS);
    for (int i = 0; i < stream.length; i++) {
      int place = i % length;
      int symbol = place == 0 ? (first + i / length) % SYMBOLS : random.nextInt(SYMBOLS);
      if (place == 1 && symbol == stream[i - 1]) {
        symbol = (symbol + 1) % SYMBOLS;
      }
      stream[i] = (byte) symbol;
    }
    return stream;
  }

  private static void same(Seen actual, Seen expected, String what) {
    assertEquals(actual.figures.keySet(), expected.figures.keySet(), what);
    expected.figures.forEach(
        (name, value) ->
            assertEquals(
                actual.figures.get(name),
                value,
                2e-5 * Math.max(1, Math.abs(value)),
                what + ": " + name));
    for (int i = 0; i < expected.loads.size(); i++) {
      assertEquals(actual.loads.get(i), expected.loads.get(i), what);
    }
    assertEquals(actual.asked, expected.asked, what);
  }

  /** Gates, and whether they draw numbers, which are a sample's places' own. */
  @DataProvider
  public Object[][] gates() {
    return new Object[][] {
      {LOSSES, false},
      {LOSSES + "--moe-expert-capacity-factor 0.7 --moe-router-pre-softmax", false},
      {SIGMOID + LOSSES, false},
      {"--moe-expert-capacity-factor 1 --moe-pad-expert-input-to-capacity", false},
      {"--balance-strategy naive", false},
      {"--balance-strategy noisy", true},
      {"--balance-strategy gshard", true},
      {"--balance-strategy switch --top-k 1", true},
      {"--balance-strategy swipe", false},
      {"--balance-strategy expert_choice", false},
    };
  }

  /** The same 16 targets in segments of 4 and of 16, in training and in evaluation. */
  @Test(dataProvider = "gates")
  public void theSameTargetsInLongerSegments(String gate, boolean draws) {
    int columns = draws ? 1 : 4;
    int targets = 16 / columns;
    byte[] stream = stream(columns, targets + 1);
    for (boolean training : new boolean[] {true, false}) {
      Seen whole = see(stream, columns, "--mem-len 8 --tgt-len " + targets, gate, training, 0);
      if (!gate.contains("switch")) {
        assertEquals(whole.asked, List.of(32L, 32L), gate);
      }
      for (int longer : new int[] {targets + 1, 4 * targets}) {
        String lengths = "--mem-len 8 --tgt-len " + longer;
        same(see(stream, columns, lengths, gate, training, 0), whole, gate + lengths);
      }
      if (!draws || !training) {
        String lengths = "--mem-len 8 --ext-len 5 --tgt-len " + targets;
        same(see(stream, columns, lengths, gate, training, 0), whole, gate + lengths);
        lengths = "--mem-len 0 --ext-len 3 --tgt-len " + 3 * targets;
        same(see(stream, columns, lengths, gate, training, 0), whole, gate + lengths);
      }
    }
  }

  /** A last segment that is shorter, behind memories. */
  @Test(dataProvider = "gates")
  public void theLastSegment(String gate, boolean draws) {
    int columns = draws ? 1 : 3;
    byte[] stream = stream(columns, 6 + 2 + 1);
    // Two segments of 6 and 2; the second one's symbols are two a column.
    Seen last = see(stream, columns, "--mem-len 6 --tgt-len 6", gate, false, 1);
    long topk = gate.contains("switch") ? 1 : 2;
    assertEquals(last.asked, List.of(2 * topk * columns, 2 * topk * columns), gate);
    // What is computed again is text: 4 of a column's symbols beside those two.
    Seen again = see(stream, columns, "--mem-len 6 --ext-len 4 --tgt-len 6", gate, true, 1);
    assertEquals(again.asked, List.of(6 * topk * columns, 6 * topk * columns), gate);
  }
}
