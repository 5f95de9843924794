package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import moe4j.config.Flags;
import moe4j.tensor.Scopes;
import org.testng.annotations.Test;

/** The bench of one layer, on the CPU and small. */
public class BenchMoeCommandTest {
  private static final String SMALL =
      "--hidden-size 16 --tokens 32 --num-experts 4 --rounds 3 --warmup-rounds 1 ";

  @Test
  public void timesBothLayersBothWays() throws Exception {
    long pointers = Scopes.livePointers();
    List<String> lines = run(SMALL + "--fmoefy --moe-aux-loss-coeff 0.01");
    assertEquals(
        lines.get(1),
        "32 tokens of 16 channels; experts: 4 of 32 channels, 2 a token; dense: 64 channels");
    String figures =
        ": median \\d+\\.\\d{3} ms, \\d+\\.\\d{3} to \\d+\\.\\d{3} over 3 rounds"
            + " \\| \\d+\\.\\d{3} TFLOP/s";
    assertTrue(lines.get(2).matches("MoE forward" + figures), lines.get(2));
    assertTrue(lines.get(3).matches("MoE forward and backward" + figures), lines.get(3));
    assertTrue(lines.get(4).matches("dense forward" + figures), lines.get(4));
    assertTrue(lines.get(5).matches("dense forward and backward" + figures), lines.get(5));
    assertTrue(
        lines.get(6).matches("MoE takes [\\d.]+ times as long as dense, [\\d.]+ times.*"),
        lines.get(6));
    assertEquals(lines.size(), 7);
    assertEquals(Scopes.livePointers(), pointers);
  }

  @Test
  public void theDenseLayerHasAsManyActiveChannels() throws Exception {
    String words = "--swiglu --top-k 3 --moe-ffn-hidden-size 10 ";
    assertTrue(
        run(SMALL + words + "--moe-shared-expert-intermediate-size 7 --bf16")
            .get(1)
            .endsWith("experts: 4 of 10 channels, 3 a token; dense: 37 channels"));
  }

  @Test
  public void refusesWhatCannotBeTimed() {
    assertEquals(
        refusal("--hidden-size 16"),
        "--num-experts is required: without experts there is no MoE layer to time");
    assertEquals(refusal(SMALL + "--tokens 0"), "--tokens 0 is not positive");
    assertEquals(
        refusal(SMALL + "--fmoefy --top-k 3 --ffn-hidden-size 64"),
        "--fmoefy: --ffn-hidden-size 64 is no multiple of the 3 experts a token goes to"
            + " (give --moe-ffn-hidden-size if that is meant)");
    assertEquals(
        refusal(SMALL + "--moe-layer-freq [0]"),
        "--moe-layer-freq [0] leaves no layer for experts: have a 1 in it, or leave out"
            + " --num-experts");
  }

  private static Flags.Parsed parse(String line) throws IOException {
    return CommandLines.parse(new BenchMoeCommand(), line.trim().split(" "), 1);
  }

  private static String refusal(String line) {
    return expectThrows(IllegalArgumentException.class, () -> parse(line)).getMessage();
  }

  private static List<String> run(String line) throws IOException {
    PrintStream console = System.out;
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
    try {
      assertEquals(new BenchMoeCommand().run(parse(line)), 0);
    } finally {
      System.setOut(console);
    }
    return out.toString(StandardCharsets.UTF_8).lines().toList();
  }
}
