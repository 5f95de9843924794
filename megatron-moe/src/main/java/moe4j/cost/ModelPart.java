package moe4j.cost;

import java.util.ArrayList;
import java.util.List;

/**
 * A part of a model, such as one layer's attention, and what it costs in a training step, forward
 * and backward together. Parts are made by {@link #named} and the {@link Builder}'s methods.
 *
 * @param name a word for the part, such as {@code attention}
 * @param parameters how many parameters it has
 * @param work what it computes
 * @param memory the memory of its activations
 * @param traffic what it communicates
 * @param divisible which of its sizes have to be multiples of numbers of ranks
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
   * @param attention attention between its projections; empty for most parts
   * @param moved what its other kernels read and write: the memory's bandwidth bounds their time
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
   * The memory of a part's activations.
   *
   * @param kept what the forward keeps for the backward
   * @param working what this part's backward needs beside all that is kept, while it computes
   */
  public record Memory(List<Amount> kept, List<Amount> working) {
    /** Copies the lists. */
    public Memory {
      kept = List.copyOf(kept);
      working = List.copyOf(working);
    }
  }

  /**
   * What a part communicates.
   *
   * @param crossings tensors that tensor-parallel ranks communicate
   * @param exchanges tokens that a rank routes ({@link Rows.Kind#ROUTED}): their rows go to the
   *     experts and come back, forward and backward
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

  /** A builder of a part that so far costs nothing. */
  public static Builder named(String name) {
    return new Builder(name);
  }

  /** FLOPs of one rank that count as the model's: without gates, as Megatron counts. */
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

  /** Parameters that a token does not meet: those of the experts that it does not go to. */
  public long idle() {
    return traffic.exchanges.stream()
        .map(amount -> amount.rows().routing())
        .mapToLong(r -> parameters.experts() / r.experts() * (r.experts() - r.topk()))
        .sum();
  }

  /** Says what a part costs; its methods may be called in any order, and repeatedly. */
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

    /**
     * Adds parameters.
     *
     * @param split those of which each tensor-parallel rank has a part
     * @param whole those that every rank has
     */
    public Builder parameters(long split, long whole) {
      return parameters(new Parameters(split, whole, 0, 0));
    }

    /** Adds parameters. */
    public Builder parameters(Parameters more) {
      parameters = parameters.plus(more, 1);
      return this;
    }

    /**
     * Adds a product with a weight: three passes, for the forward and the gradients of the weight
     * and of the input.
     *
     * @param rows rows of the input
     * @param in channels of the input
     * @param out channels of the output
     */
    public Builder product(Product.Kind kind, Rows rows, Width in, Width out) {
      return product(new Product(kind, rows, in, out, 3));
    }

    /** Adds a product with another number of passes. */
    public Builder product(Product product) {
      products.add(product);
      return this;
    }

    /** Adds attention between projections. */
    public Builder attends(AttentionCore core) {
      attention.add(core);
      return this;
    }

    /** Adds so many elements that kernels read or write, beside products and attention. */
    public Builder moves(Rows rows, Width width) {
      return moves(Amount.elements(rows, width));
    }

    /** Adds an amount that kernels read or write, beside products and attention. */
    public Builder moves(Amount amount) {
      moved.add(amount);
      return this;
    }

    /** Adds so many elements that the forward keeps for the backward. */
    public Builder keeps(Rows rows, Width width) {
      return keeps(Amount.elements(rows, width));
    }

    /** Adds an amount that the forward keeps for the backward. */
    public Builder keeps(Amount amount) {
      kept.add(amount);
      return this;
    }

    /** Adds so many elements that the backward needs beside those kept, while it computes. */
    public Builder needs(Rows rows, Width width) {
      working.add(Amount.elements(rows, width));
      return this;
    }

    /** Adds a tensor that tensor-parallel ranks communicate. */
    public Builder crosses(Crossing.Kind kind, Amount amount) {
      crossings.add(new Crossing(kind, amount));
      return this;
    }

    /**
     * Adds tokens whose rows go to experts and come back.
     *
     * @param amount rows of {@link Rows.Kind#ROUTED}
     * @throws IllegalArgumentException for rows that are not routed
     */
    public Builder exchanges(Amount amount) {
      if (amount.rows().kind() != Rows.Kind.ROUTED) {
        throw new IllegalArgumentException(
            "%s: rows that are exchanged with experts must be of the kind %s, not %s"
                .formatted(name, Rows.Kind.ROUTED, amount.rows().kind()));
      }
      exchanges.add(amount);
      return this;
    }

    /** Adds a size that has to be a multiple of a number of ranks. */
    public Builder divides(Divisible size) {
      divisible.add(size);
      return this;
    }

    /** The part with all that was added. */
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
