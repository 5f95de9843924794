package moe4j.kernels.product;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The sum of a parameter's gradients over micro-batches, in fp32; each gradient is rounded to the
 * parameter's type before it is added. While the sum is open, a product that computes such a
 * gradient may add it up where the sum lies, and hand autograd none: it finds the sum by the
 * parameter. So the gradient itself is neither written nor read again.
 *
 * <p>What comes first is stored and not added, so that nobody has to set a sum to zero.
 */
public final class GradientSum implements AutoCloseable {
  private static final Map<Long, GradientSum> OPEN = new ConcurrentHashMap<>();

  private final Tensor parameter;
  private Tensor values;
  private Tensor squares;
  private boolean empty = true;
  private boolean squaresKnown;
  private boolean taking;

  /**
   * What a kernel adds a gradient to. The values stay where they are until the sum is forgotten,
   * and the squares until it is closed, so a captured graph may write them.
   *
   * @param values fp32, of the parameter's shape
   * @param squares fp32: the kernel leaves parts of the sum of the values' squares there, as the
   *     values are then
   * @param first whether it stores the gradient, whatever the values are
   */
  public record Target(Tensor values, Tensor squares, boolean first) {}

  /** An empty sum without memory. */
  public GradientSum(Tensor parameter) {
    this.parameter = parameter;
  }

  /**
   * The open sum of a parameter that asks for a gradient. Null where none is open, and for any
   * other tensor, such as a part of a parameter.
   */
  public static GradientSum of(Tensor parameter) {
    boolean whole = parameter.is_leaf() && parameter.requires_grad();
    return whole ? OPEN.get(KnownSquares.address(parameter)) : null;
  }

  /**
   * Opens the sum for a micro-batch's gradients.
   *
   * @param first whether they are the first ones: what the sum held is forgotten
   */
  public void open(boolean first) {
    // A first micro-batch that came to nothing leaves it empty.
    empty |= first || values == null;
    // Parameters without elements share the address 0, by which none can be found.
    if (parameter.numel() > 0) {
      OPEN.put(KnownSquares.address(parameter), this);
    }
  }

  /** Begins the micro-batch's backward: from here on products add to the sum. */
  public void begin() {
    taking = OPEN.get(KnownSquares.address(parameter)) == this;
  }

  /**
   * Whether the micro-batch's backward has begun. Before it, a backward for something else, such as
   * an input's gradient, adds nothing.
   */
  public boolean isTaking() {
    return taking;
  }

  /** Ends {@link #open}. */
  public void shut() {
    taking = false;
    OPEN.remove(KnownSquares.address(parameter), this);
  }

  /** The parameter whose gradients it sums. */
  public Tensor parameter() {
    return parameter;
  }

  /** Whether it holds no gradient yet. */
  public boolean isEmpty() {
    return empty;
  }

  /** Makes it a sum of zeros. */
  public void setZero() {
    values().zero_();
    changed();
  }

  /** The sum, fp32; memory that holds anything as long as it is empty. */
  public Tensor values() {
    if (values == null) {
      values =
          Scopes.keep(() -> Tensors.empty(ScalarType.Float, parameter.device(), parameter.shape()));
    }
    return values;
  }

  /** Parts of the sum of its squares, or null where what has added last did not leave them. */
  public Tensor squares() {
    return squaresKnown ? squares : null;
  }

  /** Adds a gradient by libtorch's operations. */
  public void add(Tensor gradient) {
    add(List.of(this), List.of(gradient));
  }

  /**
   * Adds a gradient to each of some sums, in few calls.
   *
   * @param gradients in the sums' order; null, which {@code List.of} does not take, is zeros
   */
  public static void add(List<GradientSum> sums, List<Tensor> gradients) {
    List<Tensor> stored = new ArrayList<>();
    List<Tensor> storedTo = new ArrayList<>();
    List<Tensor> added = new ArrayList<>();
    List<Tensor> addedTo = new ArrayList<>();
    for (int i = 0; i < gradients.size(); i++) {
      GradientSum sum = sums.get(i);
      Tensor gradient = gradients.get(i);
      if (gradient != null) {
        (sum.empty ? stored : added).add(gradient);
        (sum.empty ? storedTo : addedTo).add(sum.values());
        sum.changed();
      } else if (sum.empty) {
        sum.setZero();
      }
    }
    if (!stored.isEmpty()) {
      TensorLists.copy(storedTo, stored);
    }
    if (!added.isEmpty()) {
      TensorLists.add(addedTo, added);
    }
  }

  private void changed() {
    empty = false;
    squaresKnown = false;
  }

  /**
   * What a kernel is to add a gradient to, at once: the sum counts as having it from now on.
   *
   * @param parts of the sum of squares that it leaves, the same number each time
   * @throws IllegalStateException for another number of parts: graphs write those that there are
   */
  public Target target(int parts) {
    if (squares == null) {
      squares = Scopes.keep(() -> Tensors.empty(ScalarType.Float, parameter.device(), parts));
    } else if (squares.numel() != parts) {
      throw new IllegalStateException(
          "A sum of gradients whose kernels leave %d parts of its squares is asked for %d."
              .formatted(squares.numel(), parts));
    }
    Target target = new Target(values(), squares, empty);
    empty = false;
    squaresKnown = true;
    return target;
  }

  /** Empties it and frees its values. */
  public void forget() {
    empty = true;
    squaresKnown = false;
    if (values != null) {
      values.close();
      values = null;
    }
  }

  @Override
  public void close() {
    shut();
    forget();
    if (squares != null) {
      squares.close();
      squares = null;
    }
  }
}
