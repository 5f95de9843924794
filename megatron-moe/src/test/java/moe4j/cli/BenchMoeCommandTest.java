package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import moe4j.config.Flags;
import moe4j.tensor.Scopes;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The bench of one layer, on the CPU and small. */
public class BenchMoeCommandTest {
  private static final String SIZES = "--hidden-size 16 --tokens 32 --num-experts 4 ";

  private static final String SMALL = SIZES + "--rounds 3 --warmup-rounds 1 ";

  private static final List<String> WAYS =
      List.of("MoE", "MoE, routing given", "router", "naive loop", "sort, _grouped_mm", "dense");

  /** A line of times; with the floor and the rates where the FLOPs are known. */
  private static String figures(String way, String pass) {
    String number = " +\\d+\\.\\d+(e-\\d+)?";
    String counted = way.equals("router") ? " +- +- +- +-" : number.repeat(3) + " +\\d+%";
    return way + " +" + pass + number + number + " \\d+\\.\\d+" + counted + " +-";
  }

  private static void assertTable(List<String> lines) {
    assertTrue(lines.get(0).startsWith("layer  "), lines.get(0));
    for (int i = 0; i < WAYS.size(); i++) {
      String forward = lines.get(1 + 2 * i);
      assertTrue(forward.matches(figures(WAYS.get(i), "forward")), forward);
      String both = lines.get(2 + 2 * i);
      assertTrue(both.matches(figures(WAYS.get(i), "forward and backward")), both);
    }
    assertTrue(
        lines.get(13).matches("errors against fp\\d\\d: output \\d\\.\\de-\\d\\d, .*"),
        lines.get(13));
    String times = " [\\d.]+ times as long as %s, [\\d.]+ times with the backward";
    assertTrue(lines.get(14).matches("MoE takes" + times.formatted("dense")), lines.get(14));
    String given = times.formatted("MoE with its routing given");
    assertTrue(lines.get(15).matches("The naive loop takes" + given), lines.get(15));
    assertTrue(lines.get(16).matches("Sorting and _grouped_mm take" + given), lines.get(16));
  }

  @Test
  public void timesAllWaysBothWays() throws Exception {
    String line = SMALL + "--fmoefy --moe-aux-loss-coeff 0.01";
    run(line);
    long pointers = Scopes.livePointers();
    List<String> lines = run(line);
    // Fewer, where Java's collector has come by what other tests left.
    assertTrue(Scopes.livePointers() <= pointers, Scopes.livePointers() + " > " + pointers);
    assertTrue(lines.get(0).matches("CPU, \\d+ threads, fp32, commit .*"), lines.get(0));
    assertTrue(lines.get(1).startsWith("ceilings measured in this run: "), lines.get(1));
    assertEquals(
        lines.get(2),
        "32 tokens of 16 channels; experts: 4 of 32 channels, 2 a token, gelu; dense: 64 channels;"
            + " with --moe-aux-loss-coeff 0.01");
    assertTable(lines.subList(3, lines.size()));
    assertEquals(lines.size(), 20);
  }

  @Test
  public void namedShapesAreSmallOnTheCpu() throws IOException {
    List<String> lines = run("--shape C8,X128 --bf16 --rounds 1 --warmup-rounds 0");
    assertTrue(
        lines.get(2).startsWith("shape C8: 64 tokens of 64 channels; experts: 8 of 256 channels"),
        lines.get(2));
    assertTrue(
        lines
            .get(2)
            .endsWith(" (in small; C8 itself: 4096 tokens of 1024 channels, 8 experts of 4096)"),
        lines.get(2));
    assertTable(lines.subList(3, 20));
    assertTrue(
        lines
            .get(20)
            .startsWith(
                "shape X128: 176 tokens of 32 channels; experts: 16 of 32 channels, 2 a token, and"
                    + " a shared one of 64, relu; "),
        lines.get(20));
    assertTable(lines.subList(21, lines.size()));
    assertEquals(lines.size(), 38);
  }

  @Test
  public void theDenseLayerHasAsManyActiveChannels() throws Exception {
    String words = "--swiglu --top-k 3 --moe-ffn-hidden-size 10 ";
    List<String> lines = run(SMALL + words + "--moe-shared-expert-intermediate-size 7 --bf16");
    assertTrue(
        lines
            .get(2)
            .endsWith(
                "experts: 4 of 10 channels, 3 a token, and a shared one of 7, swiglu; dense: 37"
                    + " channels"),
        lines.get(2));
    // Grouped products of libtorch's need multiples of eight.
    assertFalse(String.join("\n", lines).contains("sort, _grouped_mm"), String.join("\n", lines));
    assertEquals(
        lines.get(lines.size() - 1),
        "Sorting and _grouped_mm are not timed: in bf16 libtorch takes multiples of 8 channels"
            + " alone");
  }

  /** Rows that a gate drops are computed by nobody: they are no FLOPs. */
  @Test
  public void namesGateAndCapacityAndCountsTheirRows() throws Exception {
    String line =
        "--balance-strategy switch --top-k 1 --moe-expert-capacity-factor 0.25"
            + " --moe-pad-expert-input-to-capacity";
    List<String> lines = run(SMALL + line);
    assertTrue(
        lines
            .get(2)
            .endsWith(
                "; with --moe-expert-capacity-factor 0.25 --moe-pad-expert-input-to-capacity"
                    + " --balance-strategy switch"),
        lines.get(2));
    // 32 tokens, of which 4 experts take a quarter: 2 rows each, whatever is chosen.
    assertTrue(
        lines.contains(
            "MoE's experts compute 8 rows, in training 8, and the other ways all 32 that were chosen:"
                + " each way's FLOPs are of its own rows"),
        String.join("\n", lines));
  }

  @DataProvider
  public Object[][] activations() {
    return new Object[][] {
      {"", "gelu"}, {"--relu", "relu"}, {"--squared-relu", "squared relu"}, {"--swiglu", "swiglu"},
    };
  }

  @Test(dataProvider = "activations")
  public void timesEachActivation(String flag, String word) throws Exception {
    List<String> lines = run("--rounds 1 --warmup-rounds 0 " + SIZES + flag);
    assertTrue(lines.get(2).contains(", 2 a token, " + word + "; dense: "), lines.get(2));
    assertTable(lines.subList(3, lines.size()));
  }

  @Test
  public void aSweepDrawsAPicture() throws IOException {
    Path directory = Files.createTempDirectory("sweep");
    List<String> lines =
        run("--sweep-experts 2,4 8,2 --rounds 1 --warmup-rounds 0 --output-dir " + directory);
    assertEquals(
        lines.get(2),
        "64 tokens, experts of 64-256-64, 2 a token (shape C8 in small; in full: 4096 tokens,"
            + " experts of 1024-4096-1024)");
    String pair = " +\\d+\\.\\d{3} / \\d+\\.\\d{3}";
    for (int i = 0; i < 3; i++) {
      assertTrue(
          lines.get(5 + i).matches(" +" + (2 << i) + pair.repeat(4) + " +[\\d.]+ / [\\d.]+"),
          lines.get(5 + i));
    }
    assertTrue(
        lines.get(8).matches("With [248] experts the naive loop takes [\\d.]+ times as long.*"),
        lines.get(8));
    Path picture = directory.resolve("experts.png");
    assertEquals(lines.subList(9, lines.size()), List.of(picture.toString()));
    BufferedImage image = ImageIO.read(picture.toFile());
    assertEquals(image.getWidth() + " x " + image.getHeight(), "1100 x 760");
  }

  /** What would fail after all is timed fails before. */
  @Test
  public void aPictureThatCannotBeWrittenIsToldAtOnce() throws IOException {
    Path directory = Files.createTempDirectory("sweep");
    Path picture = Files.createDirectory(directory.resolve("experts.png"));
    String line = "--sweep-experts 2 --rounds 1000000000 --output-dir " + directory;
    String said = expectThrows(IOException.class, () -> run(line)).getMessage();
    assertEquals(
        said,
        picture
            + " is a directory, and the picture is to be a file of that name: give another"
            + " --output-dir");
  }

  @Test
  public void refusesWhatCannotBeTimed() {
    String without = "without experts there is no MoE layer to time";
    assertEquals(refusal("--hidden-size 16"), "--num-experts or --shape is required: " + without);
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

  /** No int holds what these sizes come to. */
  @Test
  public void refusesSizesThatAreTooLargeForAnyMachine() {
    String most = ", and at most 2147483647 ";
    assertEquals(
        refusal("--num-experts 4 --hidden-size 1073741825"),
        "--hidden-size 1073741825: the usual --ffn-hidden-size would be 4294967300"
            + most
            + "is possible");
    assertEquals(
        refusal(SMALL + "--moe-ffn-hidden-size 2147483647"),
        "experts of 2147483647 channels, 2 a token and a shared one of 0: a dense layer of as many"
            + " FLOPs would have 4294967294 channels"
            + most
            + "are possible");
    assertEquals(
        refusal("--num-experts 4 --hidden-size 1 --tokens 2000000000"),
        "--tokens 2000000000, each to 2 experts, are 4000000000 routes, and at most 2147483639 are"
            + " possible");
  }

  @DataProvider
  public Object[][] refusals() {
    return new Object[][] {
      {"--shape A,Z", "--shape takes A, C8, C32, C96, C128, B, D, G, X64, X128, F, not 'Z'"},
      {"--shape A --tokens 9", "--tokens and --shape exclude each other: a shape has its sizes"},
      {"--shape A --output-dir x", "--output-dir needs --sweep-experts"},
      {"--shape A,B --sweep-experts 4", "--sweep-experts takes one --shape, not 2"},
      {
        "--sweep-experts 2,many",
        "--sweep-experts takes whole numbers with commas between them, not 'many'"
      },
      {"--sweep-experts 4,1", "--sweep-experts 1: a token goes to 2 experts"},
      {"--sweep-experts 0", "--sweep-experts 0 is not positive"},
      {
        "--sweep-experts 4 --swiglu",
        "--swiglu needs --num-experts: without it --sweep-experts times a layer of its own"
      },
      {
        SMALL + "--relu --swiglu",
        "--swiglu, --squared-relu and --relu exclude each other: a model has one activation"
      },
      {
        SMALL + "--num-threads 100000",
        "--num-threads 100000 is more than the 1024 that are taken at most"
      },
      {"--shape A --relu", "--relu and --shape exclude each other: a shape has its sizes"},
      {
        SMALL + "--sweep-experts 4 --moe-expert-capacity-factor 1",
        "--moe-expert-capacity-factor 1.0 has no effect beside --sweep-experts, which times layers"
            + " whose routing is given: leave it out"
      },
      {
        SMALL + "--moe-layer-freq 3",
        "--moe-layer-freq 3 has no effect on one layer in one process: leave it out"
      },
      {
        SMALL + "--moe-token-dispatcher-type allgather",
        "--moe-token-dispatcher-type allgather has no effect on one layer in one process: leave it"
            + " out"
      },
      {
        SMALL + "--moe-a2a-overlap-degree 2",
        "--moe-a2a-overlap-degree 2 has no effect on one layer in one process: leave it out"
      },
      {SMALL + "--small", "--small needs --shape: typed sizes are what they are"},
    };
  }

  @Test(dataProvider = "refusals")
  public void refusesInASentence(String line, String sentence) {
    assertEquals(refusal(line), sentence);
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
