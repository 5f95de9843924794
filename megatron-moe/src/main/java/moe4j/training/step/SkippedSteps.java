package moe4j.training.step;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import moe4j.kernels.cuda.CudaEvent;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Whether steps were skipped, which only the device knows. A CPU has the answer at hand. A GPU
 * works behind the host's back: the answer is copied into pinned memory, and the host asks for it a
 * step later, so that there is always a step for the GPU to go on with.
 */
public final class SkippedSteps implements AutoCloseable {
  /** Steps that may be under way while the host prepares another. */
  private static final int GPU_LAG = 1;

  /** An answer on its way. */
  private record Answer(Tensor host, CudaEvent arrived) {}

  private final Tensor foundInf;
  private final boolean gpu;
  private final List<Answer> answers = new ArrayList<>();
  private final Deque<Answer> free = new ArrayDeque<>();
  private final Deque<Answer> pending = new ArrayDeque<>();

  /**
   * @param foundInf fp32, a scalar: 1 where the last step was skipped
   */
  public SkippedSteps(Tensor foundInf) {
    this.foundInf = foundInf;
    this.gpu = foundInf.is_cuda();
  }

  /** Steps that may stay unanswered while training goes on. */
  public int lag() {
    return gpu ? GPU_LAG : 0;
  }

  /** Steps whose answer was not taken yet. */
  public int pending() {
    return pending.size();
  }

  /** Asks, behind a step's update. */
  public void ask() {
    if (free.isEmpty()) {
      Tensor host = Scopes.keep(() -> Tensors.emptyHost(ScalarType.Float, gpu));
      Answer fresh = new Answer(host, gpu ? new CudaEvent() : null);
      answers.add(fresh);
      free.add(fresh);
    }
    Answer answer = free.remove();
    Scopes.run(() -> answer.host().copy_(foundInf, true));
    if (gpu) {
      answer.arrived().record();
    }
    pending.add(answer);
  }

  /** Whether the oldest step that is pending was skipped; waits for its end. */
  public boolean take() {
    Answer answer = pending.remove();
    if (gpu) {
      answer.arrived().synchronize();
    }
    free.add(answer);
    try (var scope = new org.bytedeco.javacpp.PointerScope()) {
      return new FloatPointer(answer.host().data_ptr()).get() != 0;
    }
  }

  @Override
  public void close() {
    for (Answer answer : answers) {
      if (gpu) {
        answer.arrived().synchronize();
        answer.arrived().close();
      }
      answer.host().close();
    }
  }
}
