package moe4j.cost;

import java.util.ArrayList;
import java.util.List;

/**
 * A part of a model, such as one layer's attention, and what it costs: in a training step, forward
 * and backward.
 *
 * @param name what it is
 * @param parameters what it learns
 * @param work what it computes
 * @param memory what it takes for its activations
 * @param traffic what it sends
 * @param divisible what of it has to be a multiple of what
 */
public record ModelPart(
    String name,
    Parameters parameters,
    Work work,
    Memory memory,
    Traffic traffic,
    List<Divisible> divisible) {

  /**
   * What a part computes.
   *
   * @param products its matrix products
   * @param attention between projections, mostly nothing
   * @param moved what kernels that the memory's bandwidth bounds read and write
   */
  public record Work(List<Product> products, List<AttentionCore> attention, List<Amount> moved) {
    /** Copies the lists. */
    public Work {
      products = List.copyOf(products);
      attention = List.copyOf(attention);
      moved = List.copyOf(moved);
    }
  }

  /**
   * What a part takes for its activations.
   *
   * @param kept by the forward for the backward
   * @param working what the backward needs beside that, while it is at this part
   */
  public record Memory(List<Amount> kept, List<Amount> working) {
    /** Copies the lists. */
    public Memory {
      kept = List.copyOf(kept);
      working = List.copyOf(working);
    }
  }

  /**
   * What a part sends.
   *
   * @param crossings among tensor-parallel ranks
   * @param exchanges what goes to experts and comes back, forward and backward: the tokens that a
   *     rank routes
   */
  public record Traffic(List<Crossing> crossings, List<Amount> exchanges) {
    /** Copies the lists. */
    public Traffic {
      crossings = List.copyOf(crossings);
      exchanges = List.copyOf(exchanges);
    }
  }

  /** Copies the list. */
  public ModelPart {
    divisible = List.copyOf(divisible);
  }

  /** A part to be described. */
  public static Builder named(String name) {
    return new Builder(name);
  }

  /** FLOPs of one rank that count as the model's. */
  public double flops(Placement placement) {
    double sum = 0;
    for (Product product : work.products) {
      sum += product.kind() == Product.Kind.GATE ? 0 : product.flops(placement);
    }
    for (AttentionCore core : work.attention) {
      sum += core.flops(placement);
    }
    return sum;
  }

  /** Parameters that a token does not meet: of the experts, those that it does not go to. */
  public long idle() {
    return traffic.exchanges.stream()
        .map(amount -> amount.rows().routing())
        .mapToLong(r -> parameters.experts() / r.experts() * (r.experts() - r.topk()))
        .sum();
  }

  /** Says what a part costs, in any order. */
  public static final class Builder {
    private final String name;
    private Parameters parameters = Parameters.NONE;
    private final List<Product> products = new ArrayList<>();
    private final List<AttentionCore> attention = new ArrayList<>();
    private final List<Amount> moved = new ArrayList<>();
    private final List<Amount> kept = new ArrayList<>();
    private final List<Amount> working = new ArrayList<>();
    private final List<Crossing> crossings = new ArrayList<>();
    private final List<Amount> exchanges = new ArrayList<>();
    private final List<Divisible> divisible = new ArrayList<>();

    private Builder(String name) {
      this.name = name;
    }

    /** It has parameters of which each tensor-parallel rank has a part, and others. */
    public Builder parameters(long split, long whole) {
      return parameters(new Parameters(split, whole, 0, 0));
    }

    /** It has more parameters. */
    public Builder parameters(Parameters more) {
      parameters = parameters.plus(more, 1);
      return this;
    }

    /** It multiplies by a weight, whose gradient and its input's are products, too. */
    public Builder product(Product.Kind kind, Rows rows, Width in, Width out) {
      return product(new Product(kind, rows, in, out, 3));
    }

    /** It has a product. */
    public Builder product(Product product) {
      products.add(product);
      return this;
    }

    /** It attends. */
    public Builder attends(AttentionCore core) {
      attention.add(core);
      return this;
    }

    /** It has kernels that read and write so much. */
    public Builder moves(Rows rows, Width width) {
      return moves(Amount.elements(rows, width));
    }

    /** It has kernels that read and write so much. */
    public Builder moves(Amount amount) {
      moved.add(amount);
      return this;
    }

    /** Its forward keeps something for the backward. */
    public Builder keeps(Rows rows, Width width) {
      return keeps(Amount.elements(rows, width));
    }

    /** Its forward keeps something for the backward. */
    public Builder keeps(Amount amount) {
      kept.add(amount);
      return this;
    }

    /** Its backward needs something in addition, while it works. */
    public Builder needs(Rows rows, Width width) {
      working.add(Amount.elements(rows, width));
      return this;
    }

    /** Tensor-parallel ranks pass something on. */
    public Builder crosses(Crossing.Kind kind, Amount amount) {
      crossings.add(new Crossing(kind, amount));
      return this;
    }

    /** Rows of so many channels go to experts and come back. */
    public Builder exchanges(Amount amount) {
      exchanges.add(amount);
      return this;
    }

    /** A size has to be a multiple of a number of ranks. */
    public Builder divides(Divisible size) {
      divisible.add(size);
      return this;
    }

    /** The part. */
    public ModelPart build() {
      return new ModelPart(
          name,
          parameters,
          new Work(products, attention, moved),
          new Memory(kept, working),
          new Traffic(crossings, exchanges),
          divisible);
    }
  }
}
