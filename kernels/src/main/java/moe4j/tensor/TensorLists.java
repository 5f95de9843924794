package moe4j.tensor;

import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** The optimizer's operations over lists of tensors, in few calls. None of them asks the device. */
public final class TensorLists {
  private static final BoxedOp NORM = BoxedOp.find("aten::_foreach_norm", "Scalar");
  private static final BoxedOp COPY = BoxedOp.find("aten::_foreach_copy_", "");
  private static final BoxedOp ADD = BoxedOp.find("aten::_foreach_add_", "List");
  private static final BoxedOp ADAMW = BoxedOp.find("aten::_fused_adamw_", "tensor_lr");

  private TensorLists() {}

  /** The L2 norm of all elements of all tensors, fp32, a scalar. */
  public static Tensor norm(List<Tensor> tensors) {
    try (NoGradGuard guard = new NoGradGuard()) {
      // The last argument, a result type, keeps bf16 gradients from bf16 sums: 6 is fp32's code.
      List<Tensor> each = NORM.callForList(tensors, 2.0, 6L);
      return torch.stack(Tensors.vector(each)).norm();
    }
  }

  /** The sum of squares of all elements of all tensors, fp64, a scalar. */
  public static Tensor squares(List<Tensor> tensors) {
    try (NoGradGuard guard = new NoGradGuard()) {
      // 7 is fp64's code.
      List<Tensor> each = NORM.callForList(tensors, 2.0, 7L);
      return torch.stack(Tensors.vector(each)).square().sum();
    }
  }

  /** Copies each source over its target, converting its type. */
  public static void copy(List<Tensor> targets, List<Tensor> sources) {
    COPY.call(targets, sources, false);
  }

  /** Adds each source to its target, in the target's type. */
  public static void add(List<Tensor> targets, List<Tensor> sources) {
    // A whole factor: libtorch refuses to add integers with another.
    ADD.call(targets, sources, 1L);
  }

  /**
   * One step of AdamW (Loshchilov and Hutter 2019) over fp32 tensors, in place; it changes nothing
   * where {@code foundInf} is 1. The gradients are divided by {@code gradScale} first, in place,
   * too.
   *
   * @param parameters fp32, changed in place
   * @param gradients fp32, one for each parameter
   * @param expAvgs fp32, the first moments
   * @param expAvgSqs fp32, the second moments
   * @param step fp32 scalar, already counting this step
   * @param lr fp32 scalar, the learning rate
   * @param beta1 the first moment's decay in a step
   * @param beta2 the second moment's decay in a step
   * @param weightDecay decoupled: in units of the learning rate
   * @param epsilon is added to the second moment's root
   * @param gradScale fp32 scalar
   * @param foundInf fp32 scalar, 0 or 1
   */
  public static void adamw(
      List<Tensor> parameters,
      List<Tensor> gradients,
      List<Tensor> expAvgs,
      List<Tensor> expAvgSqs,
      Tensor step,
      Tensor lr,
      double beta1,
      double beta2,
      double weightDecay,
      double epsilon,
      Tensor gradScale,
      Tensor foundInf) {
    ADAMW.call(
        parameters,
        gradients,
        expAvgs,
        expAvgSqs,
        List.of(),
        java.util.Collections.nCopies(parameters.size(), step),
        lr,
        beta1,
        beta2,
        weightDecay,
        epsilon,
        false,
        false,
        gradScale,
        foundInf);
  }
}
