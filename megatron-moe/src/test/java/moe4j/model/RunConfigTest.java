package moe4j.model;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.config.ConfigYaml;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptFamily;
import moe4j.moe.MoeConfig;
import moe4j.testing.Seeds;
import moe4j.training.RandomRuns;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class RunConfigTest {
  private static final String SMALL =
      "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 16"
          + " --micro-batch-size 2 --train-iters 10 --lr 1e-3 --mock-data";

  private final Random random = Seeds.random(RunConfigTest.class);

  private static List<Record> parts(RunConfig run) {
    return List.of(
        run.model().flags(),
        run.moe(),
        run.optimizer(),
        run.training(),
        run.data(),
        run.checkpoint(),
        run.logging(),
        run.parallel());
  }

  @Test
  public void aRunsCommandLineGivesItAgain() {
    RandomRuns runs = new RandomRuns(random);
    for (int round = 0; round < 300; round++) {
      RunConfig run = runs.next();
      List<Record> parts = new ArrayList<>(parts(run));
      Collections.shuffle(parts, random);
      List<String> line = new ArrayList<>();
      parts.forEach(part -> line.addAll(Flags.commandLine(part)));
      assertEquals(GptFamily.parse(line.toArray(String[]::new)), run, line.toString());
      assertEquals(GptFamily.parse(run.commandLine().toArray(String[]::new)), run);
      String yaml = ConfigYaml.text(List.of("a comment"), run.arguments());
      List<String> words = ConfigYaml.words("config.yaml", yaml);
      assertEquals(GptFamily.parse(words.toArray(String[]::new)), run, yaml);
    }
  }

  @Test
  public void aCheckpointGivesItsConfigurationAgain() {
    RandomRuns runs = new RandomRuns(random);
    for (int round = 0; round < 100; round++) {
      RunConfig run = runs.next();
      assertEquals(RunJson.modelOf(run.toJson()), run.model().flags());
      assertEquals(RunJson.moeOf(run.toJson()), run.moe());
      assertEquals(RunJson.dataOf(run.toJson()), run.data());
    }
  }

  /** A flag that came later has its default, one that is gone or not there yet is passed over. */
  @Test
  public void aCheckpointOfAnotherVersion() {
    RandomRuns runs = new RandomRuns(random);
    for (int round = 0; round < 100; round++) {
      RunConfig run = runs.next();
      ObjectNode later = run.toJson();
      for (String part : List.of("model", "moe", "data")) {
        ((ObjectNode) later.get(part)).put("flagOfAnotherDay", random.nextInt());
        ((ObjectNode) later.get(part)).putArray("another").add("x");
      }
      assertEquals(RunJson.modelOf(later), run.model().flags());
      assertEquals(RunJson.moeOf(later), run.moe());
      assertEquals(RunJson.dataOf(later), run.data());
    }
    RunConfig run =
        GptFamily.parse(
            Refusals.words(
                SMALL + " --num-experts 4 --tokenizer-type NullTokenizer --reset-position-ids"));
    ObjectNode earlier = run.toJson();
    keep(earlier, "model", "numLayers", "hiddenSize", "numAttentionHeads", "seqLength");
    keep(earlier, "moe", "numExperts");
    keep(earlier, "data", "mockData", "tokenizerType", "resetPositionIds");
    assertEquals(RunJson.modelOf(earlier), run.model().flags());
    assertEquals(RunJson.moeOf(earlier), run.moe());
    assertEquals(RunJson.dataOf(earlier), run.data());
    earlier.remove("moe");
    assertEquals(RunJson.moeOf(earlier), MoeConfig.dense());
  }

  /** Flags that are lists now had one value once. */
  @Test
  public void aCheckpointFromBeforeThereWereSeveralLosses() {
    RunConfig run =
        GptFamily.parse(
            Refusals.words(
                SMALL + " --num-experts 4 --moe-aux-loss-coeff 0.01 --moe-z-loss-coeff 0.5"));
    ObjectNode earlier = run.toJson();
    keep(earlier, "moe", "numExperts", "moeLayerFreq", "moeRouterTopk", "moeZLossCoeff");
    ((ObjectNode) earlier.get("moe"))
        .put("moeRouterLoadBalancingType", "aux_loss")
        .put("moeAuxLossCoeff", 0.01);
    assertEquals(RunJson.moeOf(earlier), run.moe());
  }

  private static void keep(ObjectNode configuration, String part, String... names) {
    ((ObjectNode) configuration.get(part)).retain(names);
  }

  @Test
  public void argumentsAreSortedAndWhole() {
    Map<String, Object> arguments = GptFamily.parse(Refusals.words(SMALL)).arguments();
    assertEquals(List.copyOf(arguments.keySet()), arguments.keySet().stream().sorted().toList());
    assertEquals(
        arguments.size(),
        parts(GptFamily.parse(Refusals.words(SMALL))).stream()
            .mapToInt(part -> part.getClass().getRecordComponents().length)
            .sum());
    assertEquals(arguments.get("ffn_hidden_size"), 256);
    assertEquals(arguments.get("mock_data"), true);
    assertEquals(arguments.get("lr"), 1e-3);
  }

  @DataProvider
  public Object[][] impossible() {
    return new Object[][] {
      {"extra", "'extra' is neither a flag nor a flag's value"},
      {
        "--lr-decay-samples 100",
        "--train-iters counts in iterations and --lr-decay-samples in samples: one unit is asked"
            + " for"
      },
      {
        "--lr-warmup-iters 10",
        "--lr-warmup-iters 10: the warm-up leaves nothing of the 10 iterations of the learning"
            + " rate's schedule (--train-iters)"
      },
      {
        "--num-experts 4 --moe-layer-freq [0]*1+[1]*2",
        "--moe-layer-freq [0]*1+[1]*2 describes 3 layers, --num-layers says 2"
      },
      {
        "--use-precision-aware-optimizer --main-grads-dtype bf16",
        "--main-grads-dtype bf16 is for a model in bf16: give --bf16 too, or leave it out"
      },
      {
        "--device cuda --no-fused-kernels --use-precision-aware-optimizer --exp-avg-dtype fp8",
        "--exp-avg-dtype fp8 and --exp-avg-sq-dtype fp32 on a GPU need moe4j's kernels: leave out"
            + " --no-fused-kernels"
      },
      {
        "--use-precision-aware-optimizer --main-params-dtype fp16",
        "--main-params-dtype fp16 is not taken: an fp32 master adds 16 bits to its bf16 parameter"
            + " (--master-storage remainder), which are as many as fp16's: leave the flag out"
      },
      {
        "--use-precision-aware-optimizer --exp-avg-dtype fp16",
        "--exp-avg-dtype fp16 is not taken: give bf16, which takes as many bytes and has fp32's"
            + " range"
      },
      {
        "--use-precision-aware-optimizer --exp-avg-dtype bf16 --exp-avg-sq-dtype fp16",
        "--exp-avg-sq-dtype fp16 is not taken: give bf16, which takes as many bytes and has fp32's"
            + " range"
      },
      {
        "--master-storage remainder",
        "--master-storage remainder is for a model in bf16, since fp32 parameters have no masters:"
            + " give --bf16 too, or leave it out"
      },
      // What MegaBlocks' and DeepSpeed's trainers call flags of Megatron's.
      {
        "--moe-loss-coeff 0.1",
        "unknown flag --moe-loss-coeff; this command calls it --moe-aux-loss-coeff"
      },
      {"--moe-top-k 2", "unknown flag --moe-top-k; this command calls it --top-k"},
      {
        "--moe-capacity-factor 1",
        "unknown flag --moe-capacity-factor; this command calls it --moe-expert-capacity-factor"
      },
      {
        "--moe-expert-parallel-size 2",
        "unknown flag --moe-expert-parallel-size; this command calls it --expert-model-parallel-size"
      },
      {"--num-layer 3", "unknown flag --num-layer; did you mean --num-layers?"},
      {"--lr-decay-stile cosine", "unknown flag --lr-decay-stile; did you mean --lr-decay-style?"},
    };
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> GptFamily.parse(Refusals.words(SMALL + " " + flags)))
            .getMessage(),
        sentence);
  }

  /** Java code may put any record in the data's place. */
  @Test
  public void dataAreTheFamilys() {
    RunConfig run = GptFamily.parse(Refusals.words(SMALL));
    RunConfigBuilder other =
        RunConfig.builder(run.model(), run.training(), run.optimizer(), run.moe());
    assertEquals(
        expectThrows(IllegalArgumentException.class, other::build).getMessage(),
        "data of the class moe4j.moe.MoeConfig cannot be a GPT's, which are told by"
            + " moe4j.config.DataFlags");
  }
}
