package moe4j.plan;

import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import moe4j.cost.Amount;
import moe4j.cost.Crossing;
import moe4j.cost.ModelPart;
import moe4j.cost.Placement;
import moe4j.cost.Product;
import moe4j.model.ModelSpec;
import moe4j.model.RandomModels;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.GateSpec;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The costs of a GPT's parts, added up, against closed formulas of the whole model: those of
 * docs/plan.md, by which {@code plan} computed before it asked the parts.
 */
public class PlanFormulasTest {
  private static final int VOCABULARY = 96;
  private static final int MODELS = 200;

  @DataProvider
  public Object[][] models() {
    Random random = Seeds.random(PlanFormulasTest.class);
    List<Object[]> models = new ArrayList<>();
    for (int i = 0; i < MODELS; i++) {
      ModelSpec model = RandomModels.gpt(random, i % 2 == 0);
      int tensor = 1 << random.nextInt(3);
      boolean experts = model.moeLayers() > 0;
      Placement placement =
          new Placement(
              1 + random.nextInt(3),
              1,
              tensor,
              tensor > 1 && random.nextBoolean(),
              experts ? 1 << random.nextInt(3) : 1,
              experts && random.nextBoolean() ? tensor : 1,
              random.nextBoolean() ? 1 : 1.4);
      models.add(new Object[] {model, placement, random.nextBoolean()});
    }
    return models.toArray(new Object[0][]);
  }

  /** The formulas, with the symbols of docs/plan.md. */
  private static final class Formulas {
    private final GptConfig config;
    private final MoeConfig moe;
    private final Placement on;
    private final double e;
    private final double tokens;
    private final double stream;
    private final double routed;
    private final double h;
    private final double q;
    private final double c;
    private final double tp;
    private final double etp;
    private final int layers;
    private final int moeLayers;
    private final Activation activation;

    Formulas(ModelSpec model, Placement on, double e) {
      this.config = model.flags(GptConfig.class);
      this.moe = model.moe();
      this.on = on;
      this.e = e;
      this.tokens = on.samples() * config.seqLength();
      this.tp = on.tensor();
      this.etp = on.expertTensor();
      this.stream = on.sequenceParallel() ? tokens / tp : tokens;
      this.routed = tokens / tp;
      this.h = config.hiddenSize();
      this.q = config.numAttentionHeads() * config.kvChannels();
      this.c = config.queryGroups() * config.kvChannels();
      this.layers = config.numLayers();
      this.moeLayers = model.moeLayers();
      this.activation = config.activation();
    }

    private double i() {
      return activation == Activation.SWIGLU ? 2 : 1;
    }

    private double vectors() {
      return config.normalization().equals("LayerNorm") ? 2 : 1;
    }

    private boolean grouped() {
      return config.queryGroups() < config.numAttentionHeads();
    }

    private boolean rotates() {
      return config.positionEmbeddingType().equals("rope");
    }

    private int denseLayers() {
      return layers - moeLayers;
    }

    private double k() {
      return moeLayers == 0 ? 0 : moe.moeRouterTopk();
    }

    private double f() {
      return moeLayers == 0 ? 0 : moe.expertHiddenSize(config.layerShape());
    }

    private double shared() {
      Integer size = moe.moeSharedExpertIntermediateSize();
      return moeLayers == 0 || size == null ? 0 : size;
    }

    private boolean gathers() {
      return moe.moeTokenDispatcherType().equals("allgather");
    }

    private double ranks() {
      return on.expert() * etp;
    }

    /** Rows of the fullest rank's experts over the mean. */
    private double load() {
      Double factor = moe.moeExpertCapacityFactor();
      if (moe.gate().limit() == GateSpec.Limit.FILLED) {
        return factor == null ? 1 : factor;
      }
      double uneven = on.expert() == 1 ? 1 : on.imbalance();
      if (factor == null) {
        return uneven;
      }
      return moe.moePadExpertInputToCapacity() ? factor : Math.min(uneven, Math.max(1, factor));
    }

    private double computed() {
      return routed * k() * etp * load();
    }

    private double held() {
      return gathers() ? routed * k() * ranks() : computed();
    }

    /** Channels that a feed-forward block keeps for each of its own. */
    private double perChannel() {
      return switch (activation) {
        case GELU, SQUARED_RELU -> 2;
        case SWIGLU -> 3;
        case RELU -> 1;
      };
    }

    double kept() {
      double norm = stream * (2 * h * e + 4 * vectors());
      double blocks = layers * (2 * norm + keptByAttention());
      blocks += denseLayers() * tokens * perChannel() * config.ffnHiddenSize() / tp * e;
      if (moeLayers > 0) {
        boolean relu = activation == Activation.RELU || activation == Activation.SQUARED_RELU;
        double between = perChannel() + (relu ? 1 : 0);
        double layer = routed * (8 * moe.numExperts() + 32 * k());
        layer += held() * (h + between * f() / etp) * e;
        layer += tokens * perChannel() * shared() / tp * e;
        layer += shared() > 0 && moe.moeSharedExpertGate() ? stream * h * e : 0;
        blocks += moeLayers * layer;
      }
      return blocks + norm + tokens * VOCABULARY / tp * e;
    }

    private double keptByAttention() {
      double heads = config.numAttentionHeads();
      boolean norms = config.qkLayernorm();
      double elements = q;
      if (!grouped() || !(norms || rotates())) {
        elements += q + 2 * c;
      }
      double floats = heads;
      if (norms) {
        elements += q + c;
        floats += (heads + config.queryGroups()) * vectors();
      }
      if (norms || rotates()) {
        elements += q + (grouped() ? 0 : c);
      }
      if (grouped()) {
        elements += 2 * q;
      }
      double bytes = tokens / tp * (elements * e + 4 * floats);
      return config.attentionDropout() == 0 ? bytes : bytes + weights() * (4 + e);
    }

    /** Attention's weights. */
    double weights() {
      return tokens * config.seqLength() * config.numAttentionHeads() / tp;
    }

    double working() {
      double most = tokens * (h + (3 * q + 4 * c) / tp) * e;
      double widest = Math.max(denseLayers() > 0 ? config.ffnHiddenSize() : 0, shared());
      if (widest > 0) {
        most = Math.max(most, tokens * (2 * h + (i() + 1) * widest / tp) * e);
      }
      if (moeLayers > 0) {
        double rows = held() * (2 * h + (i() + 1) * f() / etp) * e;
        double moved = 2 * routed * (gathers() ? ranks() : k()) * h * e;
        most = Math.max(most, rows + (ranks() > 1 ? moved : 0));
      }
      return most;
    }

    /** Bytes that memory-bound kernels read and write. */
    double moved() {
      double heads = 2 * (q + 2 * c);
      heads += config.qkLayernorm() ? 8 * (q + c) : 0;
      heads += rotates() ? 20 * (q + c) : 0;
      heads += grouped() ? 4 * (q + c) : 0;
      double between = 3 * i() + 2;
      double elements = (2 * layers + 1) * 8 * stream * h + layers * tokens * heads / tp;
      elements +=
          tokens * between * (denseLayers() * config.ffnHiddenSize() + moeLayers * shared()) / tp;
      // The embedding, and the loss.
      elements += 8 * stream * h + 2 * tokens * VOCABULARY / tp;
      double bytes = elements * e;
      if (moeLayers > 0) {
        double rows = computed() * between * f() / etp + 4 * (routed * k() + routed) * h;
        rows += ranks() > 1 ? 4 * computed() * h : 0;
        bytes += moeLayers * (rows * e + 12 * 4 * routed * moe.numExperts());
      }
      return bytes;
    }

    double flops(Product.Kind kind) {
      double ffn = denseLayers() * config.ffnHiddenSize() + moeLayers * shared();
      return 6
          * switch (kind) {
            case DENSE -> tokens * h / tp * (layers * (2 * q + 2 * c) + (i() + 1) * ffn);
            case OUTPUT -> tokens * h * VOCABULARY / tp;
            case GROUPED -> moeLayers * computed() * h * (i() + 1) * f() / etp;
            case GATE -> moeLayers == 0 ? 0 : moeLayers * routed * h * moe.numExperts();
          };
    }

    /** Bytes of the tensors of one kind that tensor-parallel ranks communicate. */
    double crossing(Crossing.Kind kind) {
      int blocks = layers + denseLayers() + (shared() > 0 ? moeLayers : 0);
      return switch (kind) {
        // Beside the blocks there are the output layer and the embedding.
        case INTO_BLOCK, OUT_OF_BLOCK -> (blocks + 1) * tokens * h * e;
        case AROUND_PARTS -> moeLayers * tokens * h * e;
        case LOSS -> 2 * 4 * tokens;
      };
    }
  }

  @Test(dataProvider = "models")
  public void partsAddUp(ModelSpec spec, Placement on, boolean bf16) {
    PlannedModel model = new PlannedModel(spec.costs(VOCABULARY), bf16);
    Formulas formulas = new Formulas(spec, on, model.bytes());
    String what = spec.flags() + " " + spec.moe() + " " + on;
    same(model.kept(on), formulas.kept(), "kept: " + what);
    same(model.working(on), formulas.working(), "working: " + what);
    ToDoubleFunction<Amount> bytes = amount -> amount.on(on, model.bytes());
    same(model.sum(part -> part.work().moved(), bytes), formulas.moved(), "moved: " + what);
    for (Product.Kind kind : Product.Kind.values()) {
      double flops =
          model.sum(
              part -> part.work().products(),
              product -> product.kind() == kind ? product.flops(on) : 0);
      same(flops, formulas.flops(kind), kind + ": " + what);
    }
    double weights = model.sum((ModelPart part) -> passed(part, bytes));
    boolean drops = formulas.config.attentionDropout() > 0;
    same(weights, drops ? formulas.layers * 4 * formulas.weights() : 0, "weights: " + what);
    for (Crossing.Kind kind : Crossing.Kind.values()) {
      double crossing =
          model.sum(
              part -> part.traffic().crossings(),
              each -> each.kind() == kind ? bytes.applyAsDouble(each.amount()) : 0);
      same(crossing, formulas.crossing(kind), kind + ": " + what);
    }
    double exchanged = formulas.moeLayers * formulas.routed * formulas.h * model.bytes();
    same(model.sum(part -> part.traffic().exchanges(), bytes), exchanged, "exchanged: " + what);
  }

  private static double passed(ModelPart part, ToDoubleFunction<Amount> bytes) {
    return part.work().attention().stream()
        .flatMap(core -> core.weights().stream())
        .mapToDouble(bytes)
        .sum();
  }

  private static void same(double parts, double formula, String what) {
    assertEquals(parts, formula, 1e-9 * formula, what);
  }
}
