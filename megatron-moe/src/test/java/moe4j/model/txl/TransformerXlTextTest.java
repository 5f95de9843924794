package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.data.stream.ByteCounts;
import moe4j.data.stream.ByteVocabulary;
import moe4j.data.stream.SegmentDataset;
import moe4j.model.Continuation;
import moe4j.model.NextToken;
import moe4j.model.Sampler;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.testing.Seeds;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A Transformer-XL that writes: what it thinks of a text is what evaluations say. */
public class TransformerXlTextTest {
  private static final int SYMBOLS = 13;
  private static final int LENGTH = 31;
  private static final String SHAPE =
      "--n-layer 3 --d-model 16 --n-head 2 --d-head 8 --d-inner 24 --init-std 0.3 --tgt-len 6";

  private final Random random = Seeds.random(TransformerXlTextTest.class);

  private static TransformerXl model(String more, String experts) {
    TransformerXlConfig config = Flags.parse(TransformerXlConfig.class, (SHAPE + more).split(" "));
    MoeConfig moe = experts.isEmpty() ? MoeConfig.dense() : MoeConfig.parse(experts.split(" "));
    ParameterSet parameters = new ParameterSet(Seeds.seed(), ScalarType.Float, new Device("cpu"));
    return TransformerXl.create(
        config, SYMBOLS, 2, Moe.feedForward(config.layerShape(), moe), parameters);
  }

  private static TransformerXlText text(TransformerXl model) {
    byte[] letters = "abcdefghijklm".getBytes(StandardCharsets.UTF_8);
    return new TransformerXlText(model, ByteVocabulary.of(ByteVocabulary.Kind.UPSTREAM, letters));
  }

  private int[] symbols(int n) {
    return random.ints(n, 0, SYMBOLS).toArray();
  }

  /** The loss of each symbol but the first, in segments behind a memory: as evaluations have it. */
  private static float[] losses(
      TransformerXl trained, TransformerXlConfig.Lengths lengths, int[] symbols) {
    byte[] stream = new byte[symbols.length];
    for (int i = 0; i < stream.length; i++) {
      stream[i] = (byte) symbols[i];
    }
    SegmentDataset data = new SegmentDataset("text", stream, 1, lengths.target(), 0, 1);
    TransformerXl model = trained.with(lengths, 1);
    float[] losses = new float[symbols.length + lengths.target()];
    for (int n = 0; n < data.segments(); n++) {
      float[] these = Segments.losses(model, Segments.batch(data, n));
      System.arraycopy(these, 0, losses, n * lengths.target(), these.length);
    }
    return Arrays.copyOf(losses, symbols.length - 1);
  }

  @DataProvider
  public Object[][] models() {
    String adaptive = " --adaptive --cutoffs 4 8 --div-val 2";
    return new Object[][] {
      // Every position sees as many others, so that it is the same how a text is cut.
      {" --mem-len 9 --same-length", "", false},
      {" --mem-len 9 --same-length --pre-lnorm --clamp-len 5", "--num-experts 4", false},
      {" --mem-len 7 --same-length --not-tied --d-embed 12" + adaptive, "", false},
      // The memory is longer than the text, which is evaluated in one segment.
      {" --mem-len 30", "", true},
      {" --tgt-len 40", "--num-experts 4 --top-k 2 --balance-strategy naive", true},
      {" --mem-len 30 --adaptive --cutoffs 5", "", true},
    };
  }

  /** Given at once, symbol by symbol, or both: the logarithms are the evaluation's losses. */
  @Test(dataProvider = "models")
  public void whatItThinksIsWhatEvaluationsSay(String shape, String experts, boolean atOnce) {
    TransformerXl trained = model(shape, experts);
    int[] symbols = symbols(LENGTH);
    TransformerXlConfig.Lengths training = trained.config().lengths();
    TransformerXlConfig.Lengths lengths =
        new TransformerXlConfig.Lengths(
            atOnce ? LENGTH - 1 : 5, 0, atOnce ? 0 : training.memory(), !atOnce, training.clamp());
    float[] expected = losses(trained, lengths, symbols);
    try (TransformerXlText text = text(trained)) {
      for (int prompt : new int[] {1, 14}) {
        try (NextToken next = text.begin()) {
          float[] logits = next.after(Arrays.copyOf(symbols, prompt));
          for (int i = prompt; i < LENGTH; i++) {
            assertEquals(logits.length, SYMBOLS);
            double sum = 0;
            for (float logit : logits) {
              sum += Math.exp(logit);
            }
            assertEquals(sum, 1, 1e-5);
            assertEquals(-logits[symbols[i]], expected[i - 1], 1e-5, "symbol " + i);
            logits = next.after(symbols[i]);
          }
        }
      }
    }
  }

  /**
   * The likeliest symbols of one text are those of its repetition, whatever was written between.
   */
  @Test
  public void greedyTextsAreAlike() {
    try (TransformerXlText text = text(model(" --mem-len 9", "--num-experts 4"))) {
      Continuation greedy = new Continuation(text, new Sampler(0, 0, 1));
      int[] prompt = greedy.prompt("abcabd");
      assertEquals(prompt, new int[] {0, 1, 2, 0, 1, 3});
      int[] first = greedy.of(prompt, 20, new Random(1));
      assertEquals(first.length, 26);
      int[] between = greedy.of(new int[] {7, 7, 5}, 20, new Random(2));
      assertNotEquals(Arrays.copyOf(between, 20), Arrays.copyOfRange(first, 6, 26));
      assertEquals(greedy.of(prompt, 20, new Random(3)), first);
      // Two at a time have a memory each.
      try (NextToken one = text.begin();
          NextToken other = text.begin()) {
        float[] alone = one.after(prompt);
        other.after(9, 8);
        float[] then = one.after(4);
        try (NextToken again = text.begin()) {
          assertEquals(again.after(prompt), alone);
          assertEquals(again.after(4), then);
        }
      }
    }
  }

  /** Every byte that is a symbol comes back; what is none is refused, but for newlines. */
  @Test
  public void bytesComeBack() {
    SymbolTokenizer all = new SymbolTokenizer(ByteVocabulary.bytes());
    String said = "Grüße\n\t\u0000 \uD83D\uDE00";
    assertEquals(all.decode(all.encode(said)), said);
    assertEquals(all.decode(all.encode("\uD800x")), "\uFFFDx");
    int[] every = new int[256];
    Arrays.setAll(every, i -> i);
    byte[] bytes = all.bytes(every);
    for (int i = 0; i < 256; i++) {
      assertEquals(bytes[i] & 0xff, i);
    }
    byte[] corpus = "öffne die Tür\nund".getBytes(StandardCharsets.UTF_8);
    ByteCounts counts = new ByteCounts();
    counts.add(corpus, 0, corpus.length);
    SymbolTokenizer upstream = new SymbolTokenizer(ByteVocabulary.upstream(counts));
    assertEquals(upstream.decode(upstream.encode("Tür\nfföd")), "Türfföd");
    assertTrue(
        expectThrows(IllegalArgumentException.class, () -> upstream.encode("xyz"))
            .getMessage()
            .contains("byte 120 is not among"));
    assertTrue(
        expectThrows(IllegalArgumentException.class, () -> upstream.decode(new int[] {99}))
            .getMessage()
            .startsWith("symbol 99 is not one of the"));
  }
}
