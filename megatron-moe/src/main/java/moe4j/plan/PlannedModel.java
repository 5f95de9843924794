package moe4j.plan;

import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import moe4j.cost.Amount;
import moe4j.cost.Costs;
import moe4j.cost.ModelPart;
import moe4j.cost.Parameters;
import moe4j.cost.Placement;

/** What a plan needs to know of a model: the costs of its parts, and its precision. */
public final class PlannedModel {
  private final Costs costs;
  private final boolean bf16;
  private final Map<ModelPart, Integer> parts;
  private final Parameters parameters;
  private final boolean experts;

  /**
   * A model to plan for.
   *
   * @param bf16 bf16 parameters with fp32 masters, and not fp32
   */
  public PlannedModel(Costs costs, boolean bf16) {
    this.costs = costs;
    this.bf16 = bf16;
    this.parts = costs.parts();
    this.parameters = costs.parameters();
    this.experts = costs.hasExperts();
  }

  /** What it costs. */
  public Costs costs() {
    return costs;
  }

  /** Whether parameters are in bf16, with masters in fp32. */
  public boolean bf16() {
    return bf16;
  }

  /** Bytes of an element of parameters and activations: e. */
  public int bytes() {
    return bf16 ? 2 : 4;
  }

  /** Its parameters. */
  Parameters parameters() {
    return parameters;
  }

  /** Whether the model has experts. */
  public boolean hasExperts() {
    return experts;
  }

  /** A sum over all parts. */
  double sum(ToDoubleFunction<ModelPart> of) {
    double sum = 0;
    for (Map.Entry<ModelPart, Integer> part : parts.entrySet()) {
      sum += part.getValue() * of.applyAsDouble(part.getKey());
    }
    return sum;
  }

  /** A sum over the items that each part has, such as its products. */
  <T> double sum(Function<ModelPart, List<T>> items, ToDoubleFunction<T> of) {
    return sum(part -> items.apply(part).stream().mapToDouble(of).sum());
  }

  /** Bytes that one rank's forward keeps. */
  double kept(Placement placement) {
    return sum(part -> part.memory().kept(), amount -> amount.on(placement, bytes()));
  }

  /** Bytes that one rank's backward needs beside that: the most that any part needs. */
  double working(Placement placement) {
    double most = 0;
    for (ModelPart part : parts.keySet()) {
      double needed = 0;
      for (Amount amount : part.memory().working()) {
        needed += amount.on(placement, bytes());
      }
      most = Math.max(most, needed);
    }
    return most;
  }
}
