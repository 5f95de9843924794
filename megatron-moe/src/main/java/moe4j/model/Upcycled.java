package moe4j.model;

import java.io.IOException;
import java.util.List;
import moe4j.moe.MoeConfig;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;

/** A dense checkpoint's model that is to have experts and to compute the same. */
public interface Upcycled {

  /** The experts' flags, with what follows from the dense model. */
  MoeConfig moe();

  /** On what it depends that logits are the dense model's: a sentence each, mostly none. */
  List<String> notes();

  /**
   * Makes the model with experts.
   *
   * @param device where it is made
   * @throws IllegalArgumentException where that is not possible: one sentence
   * @throws IOException where the checkpoint cannot be read
   */
  Model make(Device device) throws IOException;

  /**
   * The model with experts.
   *
   * @param parameters its own, in the type of the dense model's
   * @param denseElements how many elements the dense model's parameters have
   */
  record Model(ParameterSet parameters, long denseElements) implements AutoCloseable {
    @Override
    public void close() {
      parameters.close();
    }
  }
}
