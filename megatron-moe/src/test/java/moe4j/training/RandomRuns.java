package moe4j.training;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;
import moe4j.config.CheckpointConfig;
import moe4j.config.DataFlags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;

/** Configurations of runs, drawn at random among those that are allowed. */
public final class RandomRuns {
  private final Random random;

  public RandomRuns(Random random) {
    this.random = random;
  }

  public RunConfig next() {
    GptConfig model = model();
    boolean iterations = random.nextBoolean();
    TrainingConfig training = training(iterations);
    return new RunConfig(
        GptFamily.spec(model, moe(model.numLayers())),
        optimizer(iterations, training),
        training,
        data(),
        checkpoint(),
        new LoggingConfig(
            size(200),
            flip(),
            flip(),
            flip(),
            maybe(this::path),
            maybe(this::path),
            maybe(this::path),
            false,
            10,
            12),
        ParallelConfig.single());
  }

  private GptConfig model() {
    int groups = size(4);
    int heads = groups * size(4);
    int sequence = size(64);
    int channels = 2 * size(20);
    boolean grouped = flip();
    String positions = choice("learned_absolute", "rope", "none");
    boolean rotary = positions.equals("rope");
    String activation = choice("gelu", "swiglu", "squared-relu", "relu");
    return GptConfig.builder()
        .numLayers(size(12))
        .hiddenSize(heads * size(16))
        .numAttentionHeads(heads)
        .seqLength(sequence)
        .maxPositionEmbeddings(maybe(() -> sequence + random.nextInt(9)))
        .ffnHiddenSize(maybe(() -> size(999)))
        .kvChannels(channels)
        .groupQueryAttention(grouped)
        .numQueryGroups(grouped ? groups : 1)
        .positionEmbeddingType(positions)
        .rotaryBase(rotary ? size(99_999) : 10_000)
        .rotaryInterleaved(rotary && flip())
        .normalization(choice("LayerNorm", "RMSNorm"))
        .normEpsilon(positive())
        .swiglu(activation.equals("swiglu"))
        .squaredRelu(activation.equals("squared-relu"))
        .relu(activation.equals("relu"))
        .disableBiasLinear(flip())
        .addQkvBias(flip())
        .qkLayernorm(flip())
        .untieEmbeddingsAndOutputWeights(flip())
        .makeVocabSizeDivisibleBy(size(512))
        .initMethodStd(positive())
        .attentionDropout(random.nextDouble())
        .hiddenDropout(random.nextDouble())
        .build();
  }

  private MoeConfig moe(int layers) {
    if (flip()) {
      return MoeConfig.dense();
    }
    int groups = size(3);
    List<String> line = new ArrayList<>();
    add(line, "num-experts", groups * (2 + random.nextInt(10)));
    add(line, "moe-layer-freq", choice(String.valueOf(size(5)), "[1]*" + layers));
    maybe(line, "moe-ffn-hidden-size", size(400));
    maybe(line, "moe-expert-capacity-factor", positive());
    if (line.contains("--moe-expert-capacity-factor") && flip()) {
      line.add("--moe-pad-expert-input-to-capacity");
    }
    maybe(line, "moe-shared-expert-intermediate-size", size(99));
    if (flip()) {
      line.add("--add-expert-bias");
    }
    if (line.contains("--moe-ffn-hidden-size") && flip()) {
      line.add("--fmoefy");
    }
    if (flip()) {
      add(line, "balance-strategy", choice("gshard", "expert_choice"));
      if (line.contains("gshard")) {
        maybe(line, "balance-loss-weight", positive());
      }
      return MoeConfig.parse(line.toArray(String[]::new));
    }
    if (line.contains("--moe-expert-capacity-factor")) {
      maybe(line, "moe-token-drop-policy", "position");
    }
    String score = choice("softmax", "sigmoid", "sqrtsoftplus");
    add(line, "moe-router-score-function", score);
    if (flip()) {
      line.add(
          score.equals("softmax") ? "--moe-router-pre-softmax" : "--moe-router-enable-expert-bias");
    }
    if (flip()) {
      line.addAll(List.of("--moe-router-load-balancing-type", "seq_aux_loss", "global_aux_loss"));
      line.addAll(List.of("--moe-aux-loss-coeff", "" + positive(), "0.5"));
    } else {
      maybe(line, "moe-aux-loss-coeff", positive());
    }
    if (flip()) {
      add(line, "moe-router-num-groups", groups);
      add(line, "moe-router-group-topk", 1);
    }
    maybe(line, "moe-z-loss-coeff", positive());
    maybe(line, "moe-input-jitter-eps", random.nextDouble());
    maybe(line, "moe-router-topk-scaling-factor", positive());
    return MoeConfig.parse(line.toArray(String[]::new));
  }

  private void maybe(List<String> line, String flag, Object value) {
    if (flip()) {
      add(line, flag, value);
    }
  }

  private static void add(List<String> line, String flag, Object value) {
    line.add("--" + flag);
    line.add(String.valueOf(value));
  }

  private OptimizerConfig optimizer(boolean iterations, TrainingConfig training) {
    double lr = positive();
    String style = choice("constant", "linear", "cosine", "inverse-square-root", "WSD");
    Double fraction = maybe(() -> random.nextDouble() / 2);
    int warmup = fraction == null ? random.nextInt(10) : 0;
    Integer wsd = style.equals("WSD") ? Integer.valueOf(size(9)) : null;
    boolean precise = !training.noFusedKernels() && flip();
    return new OptimizerConfig(
        "adam",
        lr,
        lr * random.nextDouble(),
        style,
        iterations ? maybe(() -> 100 + size(99)) : null,
        iterations ? null : maybe(() -> 10_000L + size(99)),
        iterations ? warmup : 0,
        iterations ? 0 : warmup,
        fraction,
        lr * random.nextDouble(),
        wsd == null ? "exponential" : choice("exponential", "linear", "cosine", "minus_sqrt"),
        iterations ? wsd : null,
        iterations || wsd == null ? null : Long.valueOf(wsd),
        positive(),
        random.nextDouble(),
        random.nextDouble(),
        positive(),
        choice(0.0, 1.0, positive()),
        precise,
        precise && training.bf16() ? choice("fp32", "bf16") : "fp32",
        "fp32",
        precise ? choice("fp32", "bf16", "fp8") : "fp32",
        precise ? choice("fp32", "bf16", "fp8") : "fp32",
        training.bf16() ? choice(null, "whole", "remainder") : null);
  }

  private TrainingConfig training(boolean iterations) {
    int micro = size(8);
    boolean gpu = flip();
    String attention = gpu ? choice("auto", "flash", "fused") : "auto";
    return new TrainingConfig(
        micro,
        maybe(() -> micro * size(8)),
        iterations ? 20 + size(1000) : null,
        iterations ? null : 10_000L + random.nextInt(1 << 30),
        random.nextInt(),
        flip(),
        random.nextInt(20),
        maybe(() -> size(50)),
        maybe(() -> size(50)),
        maybe(() -> size(50)),
        flip(),
        gpu ? "cuda" : "cpu",
        gpu ? choice("on", "off") : "on",
        attention,
        gpu && !attention.equals("fused") && flip(),
        gpu && flip(),
        maybe(() -> size(8)));
  }

  private DataFlags data() {
    int source = random.nextInt(5);
    return new DataFlags(
        source == 0 ? paths() : List.of(),
        source == 1 ? paths() : List.of(),
        source == 1 && flip() ? paths() : List.of(),
        source == 1 && flip() ? paths() : List.of(),
        source == 2 ? path() : null,
        source == 3 ? path() : null,
        source == 1 || source == 3 ? null : maybe(() -> "969,30,1"),
        maybe(this::path),
        source == 4,
        maybe(() -> choice("NullTokenizer", "GPT2BPETokenizer")),
        maybe(this::path),
        maybe(this::path),
        maybe(this::path),
        maybe(() -> size(60_000)),
        flip(),
        flip(),
        flip(),
        flip());
  }

  private CheckpointConfig checkpoint() {
    String save = maybe(this::path);
    String load = maybe(this::path);
    boolean overwrite = save != null && flip();
    return new CheckpointConfig(
        save,
        load,
        save == null ? null : maybe(() -> size(100)),
        save == null ? -1 : choice(-1, size(9)),
        save != null && flip(),
        save != null && flip(),
        load != null && flip(),
        load != null && flip(),
        load != null && flip(),
        save != null && !overwrite && flip(),
        load != null && flip(),
        flip(),
        overwrite);
  }

  private boolean flip() {
    return random.nextBoolean();
  }

  private <T> T maybe(Supplier<T> value) {
    return flip() ? null : value.get();
  }

  @SafeVarargs
  private <T> T choice(T... values) {
    return values[random.nextInt(values.length)];
  }

  private int size(int most) {
    return 1 + random.nextInt(most);
  }

  private double positive() {
    return (1 - random.nextDouble()) * Math.pow(10, random.nextInt(12) - 9);
  }

  private List<String> paths() {
    return flip() ? List.of(path()) : List.of("0.3", path(), "0.7", path());
  }

  private String path() {
    return choice("a", "runs/b c", "/data/\"d\"", "e=f", "g-h", "..");
  }
}
