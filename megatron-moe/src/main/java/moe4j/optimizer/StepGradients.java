package moe4j.optimizer;

import java.util.Collections;
import java.util.List;
import org.bytedeco.pytorch.Tensor;

/** Where a step's gradients are between its micro-batches and its update. */
interface StepGradients extends AutoCloseable {

  /** Whether the update is to set the gradients to zero. */
  boolean zeroedByUpdate();

  /** Whether a step's first micro-batch is another piece of work than the others. */
  default boolean firstDiffers() {
    return false;
  }

  /**
   * Is called before a micro-batch's forward, in each of a step or in none.
   *
   * @param first whether it is the step's first
   */
  default void beforeForward(boolean first) {}

  /**
   * Is called before a micro-batch's backward.
   *
   * @param last whether it is the step's last
   */
  void beforeBackward(boolean last);

  /** Takes a micro-batch's gradients over, after its backward. */
  void accumulate();

  /** Is called before the update: sums all ranks' gradients, if that is not done yet. */
  void reduce();

  /** The step's gradients, in the parameters' order; null where a parameter got none. */
  List<Tensor> orNull();

  /**
   * The parts of each gradient's sum of squares, in the parameters' order; null where what has
   * computed it did not add it up, or the gradient is a sum of several.
   */
  default List<Tensor> squares() {
    return Collections.nCopies(orNull().size(), null);
  }

  /** The step's gradients, with zeros where a parameter got none. */
  List<Tensor> all();

  /** Frees the gradients that are not kept, after the update. */
  void forget();

  /** Frees the gradients of a backward that was only captured; the sums so far stay. */
  void abandon();

  @Override
  void close();
}
