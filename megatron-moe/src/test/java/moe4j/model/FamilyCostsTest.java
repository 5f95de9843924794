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

  @DataProvider
  public Object[][] models() {
    Random random = Seeds.random(FamilyCostsTest.class);
    List<Object[]> models = new ArrayList<>();
    for (int i = 0; i < EACH; i++) {
      models.add(new Object[] {RandomModels.gpt(random, i % 2 == 0)});
      models.add(new Object[] {RandomModels.txl(random)});
    }
    return models.toArray(new Object[0][]);
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
    double pairs =
        s * s / 2 * config.numAttentionHeads() * config.kvChannels() * config.numLayers();
    double expected = 3 * 6 * (s * met + 2 * pairs);
    assertEquals(model.costs(VOCABULARY).flops(3, 1), expected, 1e-9 * expected, said(model));
  }

  private static List<ModelPart> join(List<ModelPart> first, List<ModelPart> second) {
    List<ModelPart> parts = new ArrayList<>(first);
    parts.addAll(second);
    return parts;
  }
}
