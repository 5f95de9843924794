package moe4j.model;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.cost.Costs;
import moe4j.cost.ModelPart;
import moe4j.cost.Placement;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.Gates;
import moe4j.testing.Seeds;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What families say of their models' costs, against the models themselves. */
public class FamilyCostsTest {
  private static final int VOCABULARY = 96;
  private static final int EACH = 24;

  /** Draws flags. */
  private record Line(Random random, List<String> words) {
    int of(int... values) {
      return values[random.nextInt(values.length)];
    }

    boolean maybe() {
      return random.nextBoolean();
    }

    void add(String flag, Object value) {
      words.add("--" + flag);
      words.add(value.toString());
    }

    void perhaps(String flag) {
      if (maybe()) {
        words.add("--" + flag);
      }
    }

    <R extends Record> R parse(Class<R> type) {
      return Flags.parse(type, words.toArray(new String[0]));
    }
  }

  private static Line line(Random random) {
    return new Line(random, new ArrayList<>());
  }

  @DataProvider
  public Object[][] models() {
    Random random = Seeds.random(FamilyCostsTest.class);
    List<Object[]> models = new ArrayList<>();
    for (int i = 0; i < EACH; i++) {
      models.add(new Object[] {spec("gpt", gpt(random, i % 2 == 0), random)});
      models.add(new Object[] {spec("txl", txl(random), random)});
    }
    return models.toArray(new Object[0][]);
  }

  private static ModelSpec spec(String name, Line flags, Random random) {
    ModelFamily family = ModelFamilies.named(name);
    Line experts = line(random);
    if (random.nextInt(4) > 0) {
      experts(experts);
    }
    return new ModelSpec(family, flags.parse(family.modelFlags()), experts.parse(MoeConfig.class));
  }

  private static Line gpt(Random random, boolean grouped) {
    Line line = line(random);
    line.add("num-layers", line.of(2, 3, 5));
    line.add("hidden-size", 64);
    line.add("num-attention-heads", 4);
    line.add("seq-length", line.of(8, 16));
    line.add("max-position-embeddings", line.of(16, 24));
    line.add("ffn-hidden-size", line.of(32, 96));
    line.add(
        "position-embedding-type",
        List.of("learned_absolute", "rope", "none").get(line.of(0, 1, 2)));
    line.add("normalization", List.of("LayerNorm", "RMSNorm").get(line.of(0, 1)));
    if (grouped) {
      line.words().add("--group-query-attention");
      line.add("num-query-groups", line.of(1, 2, 4));
    }
    if (line.maybe()) {
      line.add("kv-channels", 32);
    }
    String activation = List.of("", "swiglu", "squared-relu", "relu").get(line.of(0, 1, 2, 3));
    if (!activation.isEmpty()) {
      line.words().add("--" + activation);
    }
    for (String flag :
        List.of(
            "disable-bias-linear",
            "add-qkv-bias",
            "qk-layernorm",
            "untie-embeddings-and-output-weights")) {
      line.perhaps(flag);
    }
    return line;
  }

  private static Line txl(Random random) {
    Line line = line(random);
    line.add("n-layer", line.of(2, 3, 5));
    line.add("n-head", line.of(1, 2, 4));
    line.add("d-head", line.of(8, 12));
    line.add("d-model", line.of(32, 64));
    line.add("d-inner", line.of(32, 96));
    line.add("d-embed", line.of(32, 48));
    line.add("tgt-len", line.of(4, 8));
    line.add("mem-len", line.of(0, 4, 12));
    line.perhaps("pre-lnorm");
    line.perhaps("not-tied");
    if (line.maybe()) {
      line.words().addAll(List.of("--adaptive", "--cutoffs", "20", "50"));
      line.add("div-val", line.of(1, 2));
    }
    return line;
  }

  private static void experts(Line line) {
    List<String> gates = new ArrayList<>(Gates.names());
    String gate = line.maybe() ? null : gates.get(line.random().nextInt(gates.size()));
    Integer only = gate == null ? null : Gates.spec(gate).choice().only();
    line.add("num-experts", line.of(4, 8));
    line.add("top-k", only == null ? 2 : only);
    if (gate != null) {
      line.add("balance-strategy", gate);
    }
    if (line.maybe()) {
      line.add("moe-ffn-hidden-size", line.of(16, 48));
    } else {
      line.perhaps("fmoefy");
    }
    if (line.maybe()) {
      line.add("moe-layer-freq", 2);
    }
    line.perhaps("add-expert-bias");
    if (line.maybe()) {
      line.add("moe-shared-expert-intermediate-size", 32);
      line.perhaps("moe-shared-expert-gate");
    }
  }

  /** All parameters, and those that a token does not meet, as the real model has them. */
  @Test(dataProvider = "models")
  public void parameters(ModelSpec model) {
    Costs costs = model.costs(VOCABULARY);
    try (PointerScope scope = new PointerScope();
        ParameterSet real = new ParameterSet(1, ScalarType.Float, new Device("meta"))) {
      model.family().model(model, VOCABULARY, 2, real);
      assertEquals(costs.parameters().total(), real.elements(), said(model));
      long experts =
          real.all().stream()
              .filter(Parameter::isOfExperts)
              .mapToLong(p -> p.tensor().numel())
              .sum();
      assertEquals(costs.parameters().experts(), experts, said(model));
      int all = model.moeLayers() == 0 ? 1 : model.moe().numExperts();
      int chosen = model.moeLayers() == 0 ? 1 : model.moe().moeRouterTopk();
      assertEquals(costs.idleParameters(), experts / all * (all - chosen), said(model));
    }
  }

  private static String said(ModelSpec model) {
    return model.family().name()
        + " "
        + String.join(" ", Flags.shortCommandLine(model.flags()))
        + " "
        + String.join(" ", Flags.shortCommandLine(model.moe()));
  }

  /** However many samples at once, and however many parts: a model's FLOPs are their sum. */
  @Test(dataProvider = "models")
  public void flops(ModelSpec model) {
    Costs costs = model.costs(VOCABULARY);
    assertEquals(costs.depth(), model.layers());
    double whole = costs.flops(6, 2);
    Placement placement = Placement.counted(6, 3);
    double sum = 0;
    for (List<ModelPart> layer : costs.layers()) {
      sum += layer.stream().mapToDouble(part -> part.flops(placement)).sum();
    }
    for (ModelPart part : join(costs.before(), costs.behind())) {
      sum += part.flops(placement);
    }
    assertEquals(sum, whole, 1e-9 * whole, said(model));
    assertEquals(costs.flops(2, 2) * 3, whole, 1e-9 * whole, said(model));
    assertTrue(costs.flops(6, 6) <= whole, said(model));
  }

  /**
   * Each weight of a GPT's matrices that a token meets is two FLOPs, and twice as many backward.
   */
  @Test(dataProvider = "models")
  public void flopsOfTheRealMatrices(ModelSpec model) {
    if (!(model.flags() instanceof GptConfig config)) {
      return;
    }
    double met = (double) VOCABULARY * config.hiddenSize();
    try (PointerScope scope = new PointerScope();
        ParameterSet real = new ParameterSet(1, ScalarType.Float, new Device("meta"))) {
      model.family().model(model, VOCABULARY, 2, real);
      for (Parameter parameter : real.all()) {
        boolean matrix = parameter.name().matches(".*\\.linear_\\w+\\.weight.*");
        double share =
            parameter.isOfExperts()
                ? (double) model.moe().moeRouterTopk() / model.moe().numExperts()
                : 1;
        met += matrix ? share * parameter.tensor().numel() : 0;
      }
    }
    double s = config.seqLength();
    double pairs = s * s / 2 * config.queryChannels() * config.numLayers();
    double expected = 3 * 6 * (s * met + 2 * pairs);
    assertEquals(model.costs(VOCABULARY).flops(3, 1), expected, 1e-9 * expected, said(model));
  }

  private static List<ModelPart> join(List<ModelPart> first, List<ModelPart> second) {
    List<ModelPart> parts = new ArrayList<>(first);
    parts.addAll(second);
    return parts;
  }
}
