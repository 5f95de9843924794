package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A dense checkpoint becomes one with experts that goes on from where the dense run was. */
public class UpcycleTest {
  private static final int STEPS = 8;
  private static final String CHECKPOINT = "iter_0000008";

  private final Random random = Seeds.random(UpcycleTest.class);
  private Workspace workspace;
  private List<String> base;
  private Path dense;
  private Path plain;

  @BeforeClass
  public void trainDenseModels() throws IOException {
    workspace = new Workspace();
    Path corpus = workspace.corpus("corpus", random, 100);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 2 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --train-iters 12"
                + " --tokenizer-type ByteTokenizer --make-vocab-size-divisible-by 1"
                + " --split 80,10,10 --eval-iters 1 --log-interval 1 --num-threads 1 --seed",
            random.nextInt(1 << 20),
            "--data-path",
            corpus);
    dense = train("dense", "");
    plain = train("plain", "--swiglu --ffn-hidden-size 24 --disable-bias-linear --bf16");
  }

  @AfterClass
  public void deleteRuns() throws IOException {
    workspace.close();
  }

  private Path train(String name, String flags) {
    Path run = workspace.path(name);
    List<String> line = flags.isEmpty() ? base : Cli.with(base, flags);
    Cli.run(Cli.with(line, "--exit-interval", STEPS, "--save", run)).ok();
    return run;
  }

  private static List<String> upcycle(Path load, Path save, String flags) {
    return Cli.with(Cli.arguments("upcycle --load", load, "--save", save), flags);
  }

  private static double loss(Path run) {
    String out = Cli.run("evaluate --load", run).ok().out();
    Matcher loss = Pattern.compile("iteration 8, .* lm loss value: (\\S+) ").matcher(out);
    assertTrue(loss.find(), out);
    return Double.parseDouble(loss.group(1));
  }

  /** What the command says to type, behind the dense run's flags. */
  private List<String> next(Cli.Result upcycled, String denseFlags) {
    Matcher said =
        Pattern.compile("^moe4j pretrain-gpt \\.\\.\\. (.*)$", Pattern.MULTILINE)
            .matcher(upcycled.ok().out());
    assertTrue(said.find(), upcycled.out());
    List<String> line = denseFlags.isEmpty() ? base : Cli.with(base, denseFlags);
    return Cli.with(line, said.group(1).replace("'", ""));
  }

  private static JsonNode manifest(Path run) throws IOException {
    return new ObjectMapper().readTree(run.resolve(CHECKPOINT + "/manifest.json").toFile());
  }

  @Test
  public void theLossStaysAndTrainingGoesOn() throws IOException {
    Path experts = workspace.path("experts");
    String flags =
        "--num-experts 4 --moe-upcycling-granularity 2 --moe-router-score-function sigmoid"
            + " --moe-router-enable-expert-bias --moe-layer-freq [0]+[1]";
    Cli.Result upcycled = Cli.run(upcycle(dense, experts, flags)).ok();
    assertEquals(upcycled.err(), "");
    assertTrue(
        upcycled
            .out()
            .contains(
                experts.resolve(CHECKPOINT)
                    + ": 4 experts of 32 channels in 1 of 2 layers, 2 a token (the dense 64 channels"
                    + " in shards: 2, copies: 2); "),
        upcycled.out());
    assertEquals(loss(experts), loss(dense), 1e-5);

    List<String> line = next(upcycled, "");
    assertEquals(
        line.subList(line.indexOf("--no-load-optim") + 1, line.size()),
        List.of(
            ("--num-experts 4 --moe-layer-freq [0]+[1] --moe-ffn-hidden-size 32"
                    + " --moe-router-score-function sigmoid --moe-router-enable-expert-bias"
                    + " --add-expert-bias")
                .split(" ")));
    line.remove("--no-load-optim");
    Cli.Result refused = Cli.run(line);
    assertEquals(refused.status(), 1);
    assertEquals(
        refused.err().strip(),
        "moe4j pretrain-gpt: checkpoint %s holds no optimizer state: --no-load-optim goes on without it"
            .formatted(experts.resolve(CHECKPOINT)));

    Path tuned = workspace.path("tuned");
    Cli.run(Cli.with(line, "--finetune --save", tuned)).ok();
    assertEquals(RunRecord.of(tuned).steps(), IntStream.rangeClosed(1, 12).boxed().toList());
    Cli.run(next(upcycled, "")).ok();
    assertEquals(RunRecord.of(experts).steps(), List.of(9, 10, 11, 12));

    // The dense run itself, from the same weights and with moments as new, on the same samples.
    Path on = workspace.path("on");
    Cli.run(Cli.with(base, "--no-load-optim --load", dense, "--save", on)).ok();
    double[] wanted = RunRecord.of(on).numbers("lm loss");
    double[] found = RunRecord.of(experts).numbers("lm loss");
    assertEquals(found[0], wanted[0], 1e-5, "the first step is of the same function");
    assertNotEquals(found[3], wanted[3], "the experts learn otherwise");
    double begin = RunRecord.of(dense).numbers("lm loss")[0];
    assertTrue(RunRecord.of(tuned).numbers("lm loss")[0] < begin - 0.5, "not from nothing");
  }

  /** In bf16, without biases, and with flags of which nothing follows. */
  @Test
  public void theTypeStays() throws IOException {
    Path experts = workspace.path("experts-bf16");
    Cli.Result upcycled = Cli.run(upcycle(plain, experts, "--num-experts 8")).ok();
    JsonNode tensors = manifest(experts).get("tensors");
    assertEquals(tensors.size(), manifestOfModel(plain).size() + 2 * (2 * 8 + 1 - 2));
    tensors.properties().forEach(t -> assertEquals(t.getValue().get("dtype").asText(), "BF16"));
    assertEquals(loss(experts), loss(plain), 2e-2);
    List<String> line =
        next(upcycled, "--swiglu --ffn-hidden-size 24 --disable-bias-linear --bf16");
    assertEquals(
        line.subList(line.indexOf("--no-load-optim") + 1, line.size()),
        List.of("--num-experts", "8"));
    Cli.run(line).ok();
    assertEquals(RunRecord.of(experts).steps(), List.of(9, 10, 11, 12));
  }

  private static Map<String, JsonNode> manifestOfModel(Path run) throws IOException {
    Map<String, JsonNode> tensors = new java.util.TreeMap<>();
    manifest(run).get("tensors").properties().forEach(t -> tensors.put(t.getKey(), t.getValue()));
    tensors.keySet().removeIf(name -> name.startsWith("optimizer."));
    return tensors;
  }

  /** Whatever a dense checkpoint says of its run, that of its experts says too. */
  @Test
  public void theRunsPlaceStays() throws IOException {
    Path experts = workspace.path("place");
    Cli.run(
            upcycle(
                dense,
                experts,
                "--num-experts 2 --moe-router-score-function sigmoid"
                    + " --moe-router-enable-expert-bias"))
        .ok();
    assertEquals(
        Workspace.contents(experts).keySet(),
        Set.of(
            CHECKPOINT + "/manifest.json",
            CHECKPOINT + "/model_00000-of-00001.safetensors",
            "latest_checkpointed_iteration.txt",
            "run.lock",
            "run.owner"));
    ObjectNode before = (ObjectNode) manifest(dense).get("run");
    ObjectNode after = (ObjectNode) manifest(experts).get("run");
    JsonNode moe = ((ObjectNode) after.get("configuration")).remove("moe");
    JsonNode none = ((ObjectNode) before.get("configuration")).remove("moe");
    assertEquals(after, before);
    assertEquals(moe.get("numExperts").asInt(), 2);
    assertEquals(moe.size(), none.size());
    assertTrue(moe.get("addExpertBias").asBoolean());
    assertTrue(manifest(experts).get("tensors").has("decoder.layers.1.mlp.router.expert_bias"));
  }

  /** A capacity may drop tokens: that is said, and not refused. */
  @Test
  public void aCapacityIsSaid() {
    Path experts = workspace.path("capacity");
    String out =
        Cli.run(upcycle(dense, experts, "--num-experts 4 --moe-expert-capacity-factor 2.0"))
            .ok()
            .out();
    assertTrue(
        out.contains(
            "--moe-expert-capacity-factor 2.0: logits are the dense model's as long as no token is dropped"),
        out);
    assertEquals(loss(experts), loss(dense), 1e-5);
  }

  @DataProvider
  public Object[][] refusals() {
    return new Object[][] {
      {"--moe-upcycling-granularity 1", "--num-experts is required"},
      {"--moe-router-topk 4", "--moe-router-topk needs --num-experts"},
      {"--num-experts 4 --moe-router-pre-softmax", "--moe-router-pre-softmax: the weights of"},
      {
        "--num-experts 4 --moe-router-topk 1 --moe-router-score-function sigmoid",
        "--moe-router-score-function sigmoid with --moe-router-topk 1: the weights of"
      },
      {"--num-experts 4 --balance-strategy switch --top-k 1", "--balance-strategy switch: the"},
      {"--num-experts 4 --balance-strategy expert_choice", "--balance-strategy expert_choice: "},
      {"--num-experts 4 --moe-shared-expert-intermediate-size 8", "a shared expert would add"},
      {
        "--num-experts 9 --moe-router-topk 3 --moe-upcycling-granularity 3",
        "--moe-upcycling-granularity 3 does not divide the dense model's --ffn-hidden-size 64"
      },
      {
        "--num-experts 4 --moe-ffn-hidden-size 32",
        "--moe-ffn-hidden-size 32: of the dense model's --ffn-hidden-size 64"
      },
      {"--num-experts 4 --moe-layer-freq [1]*3", "--moe-layer-freq [1]*3 describes 3 layers"},
      {"--num-experts 4 --load /nowhere/run", "--load /nowhere/run holds no checkpoint"},
      {"--num-experts 4 --num-layers 2", "unknown flag --num-layers"},
    };
  }

  @Test(dataProvider = "refusals")
  public void whatWouldNotBeEqualIsRefused(String flags, String sentence) throws IOException {
    refused(upcycle(dense, workspace.path("refused"), flags), sentence);
  }

  @Test
  public void noCheckpointIsOverwritten() throws IOException {
    Path same = workspace.path("dense/../dense");
    refused(upcycle(dense, same, "--num-experts 4"), "--save " + same + " is --load: ");
    refused(upcycle(dense, plain, "--num-experts 4"), "--save " + plain + " holds the run '");
    Path file = Files.writeString(workspace.path("file"), "in the way");
    refused(upcycle(dense, file, "--num-experts 4"), file.toString());
    refused(upcycle(dense, file.resolve("below"), "--num-experts 4"), file.toString());
    Path experts = workspace.path("once");
    Cli.run(upcycle(dense, experts, "--num-experts 2")).ok();
    refused(
        upcycle(experts, workspace.path("refused"), "--num-experts 4"),
        "checkpoint %s has experts already (--num-experts 2)"
            .formatted(experts.resolve(CHECKPOINT)));
  }

  private void refused(List<String> line, String sentence) throws IOException {
    Set<String> before = workspace.files();
    Cli.Result result = Cli.run(line);
    String what = line + ": " + result.status() + " " + result.err();
    assertTrue(result.status() == 1 || result.status() == 2, what);
    assertEquals(result.err().lines().count(), 1, what);
    assertTrue(result.err().startsWith("moe4j upcycle: "), what);
    assertTrue(result.err().contains(sentence), sentence + " is missing in " + what);
    assertFalse(Pattern.compile("Exception|java\\.|null").matcher(result.err()).find(), what);
    assertEquals(workspace.files(), before, "nothing is written");
  }

  /** A torn checkpoint is known before anything is written. */
  @Test
  public void aTornCheckpointIsRefused() throws IOException {
    Path torn = workspace.path("torn");
    Workspace.copy(dense.resolve(CHECKPOINT), Files.createDirectories(torn).resolve(CHECKPOINT));
    Path model = torn.resolve(CHECKPOINT + "/model_00000-of-00001.safetensors");
    byte[] bytes = Files.readAllBytes(model);
    Files.write(model, Arrays.copyOf(bytes, bytes.length / 2));
    refused(upcycle(torn, workspace.path("refused"), "--num-experts 4"), model.toString());
  }
}
