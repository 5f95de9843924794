package moe4j.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.Gates;

/** Small models of moe4j's families by random flags. */
public final class RandomModels {
  private final Random random;
  private final List<String> words = new ArrayList<>();

  private RandomModels(Random random) {
    this.random = random;
  }

  /** A GPT, mostly with experts. */
  public static ModelSpec gpt(Random random, boolean grouped) {
    RandomModels line = new RandomModels(random);
    line.addGpt(grouped);
    return line.spec("gpt");
  }

  /** A Transformer-XL, mostly with experts. */
  public static ModelSpec txl(Random random) {
    RandomModels line = new RandomModels(random);
    line.addTxl();
    return line.spec("txl");
  }

  private ModelSpec spec(String name) {
    ModelFamily family = ModelFamilies.named(name);
    RandomModels experts = new RandomModels(random);
    if (random.nextInt(4) > 0) {
      experts.addExperts();
    }
    return new ModelSpec(family, parse(family.modelFlags()), experts.parse(MoeConfig.class));
  }

  private <R extends Record> R parse(Class<R> type) {
    return Flags.parse(type, words.toArray(new String[0]));
  }

  private int of(int... values) {
    return values[random.nextInt(values.length)];
  }

  private boolean maybe() {
    return random.nextBoolean();
  }

  private void add(String flag, Object value) {
    words.add("--" + flag);
    words.add(value.toString());
  }

  private void perhaps(String flag) {
    if (maybe()) {
      words.add("--" + flag);
    }
  }

  private void addGpt(boolean grouped) {
    add("num-layers", of(2, 3, 5));
    add("hidden-size", 64);
    add("num-attention-heads", 4);
    add("seq-length", of(8, 16));
    add("max-position-embeddings", of(16, 24));
    add("ffn-hidden-size", of(32, 96));
    add("position-embedding-type", List.of("learned_absolute", "rope", "none").get(of(0, 1, 2)));
    add("normalization", List.of("LayerNorm", "RMSNorm").get(of(0, 1)));
    if (grouped) {
      words.add("--group-query-attention");
      add("num-query-groups", of(1, 2, 4));
    }
    if (maybe()) {
      add("kv-channels", 32);
    }
    add("attention-dropout", List.of(0.0, 0.1).get(of(0, 1)));
    String activation = List.of("", "swiglu", "squared-relu", "relu").get(of(0, 1, 2, 3));
    if (!activation.isEmpty()) {
      words.add("--" + activation);
    }
    for (String flag :
        List.of(
            "disable-bias-linear",
            "add-qkv-bias",
            "qk-layernorm",
            "untie-embeddings-and-output-weights")) {
      perhaps(flag);
    }
  }

  private void addTxl() {
    add("n-layer", of(2, 3, 5));
    add("n-head", of(1, 2, 4));
    add("d-head", of(8, 12));
    add("d-model", of(32, 64));
    add("d-inner", of(32, 96));
    add("d-embed", of(32, 48));
    add("tgt-len", of(4, 8));
    add("mem-len", of(0, 4, 12));
    perhaps("pre-lnorm");
    perhaps("not-tied");
    if (maybe()) {
      words.addAll(List.of("--adaptive", "--cutoffs", "20", "50"));
      add("div-val", of(1, 2));
    }
  }

  private void addExperts() {
    List<String> gates = new ArrayList<>(Gates.names());
    String gate = maybe() ? null : gates.get(random.nextInt(gates.size()));
    GateSpec spec = gate == null ? null : Gates.spec(gate);
    Integer only = gate == null ? null : spec.choice().only();
    add("num-experts", of(4, 8));
    add("top-k", only == null ? 2 : only);
    if (gate != null) {
      add("balance-strategy", gate);
    }
    if (maybe()) {
      add("moe-ffn-hidden-size", of(16, 48));
    } else {
      perhaps("fmoefy");
    }
    if (maybe()) {
      add("moe-layer-freq", 2);
    }
    perhaps("add-expert-bias");
    if (maybe()) {
      add("moe-shared-expert-intermediate-size", 32);
      perhaps("moe-shared-expert-gate");
    }
    if (maybe()) {
      add("moe-token-dispatcher-type", "allgather");
    }
    if (maybe() && (gate == null || spec.limit().takesFactor())) {
      add("moe-expert-capacity-factor", List.of(0.75, 1.25).get(of(0, 1)));
      perhaps("moe-pad-expert-input-to-capacity");
    }
  }
}
