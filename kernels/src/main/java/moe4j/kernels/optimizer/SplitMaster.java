package moe4j.kernels.optimizer;

import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * An fp32 master as a bf16 parameter and the 16 bits that it has and the parameter lacks: as
 * integers, {@code master = (parameter << 16) + rest}, the rest being signed. Every number that is
 * not a NaN comes back with the same bits; a NaN comes back as a NaN.
 *
 * <p>The parameter is the bf16 number nearest to the master. Where two are as near it is the one
 * that is farther from zero, and not, as elsewhere, the even one. No code of 16 bits could do that:
 * an even parameter would be that of 65,537 masters.
 */
public final class SplitMaster {
  /** A NaN whose upper half is one. */
  private static final int NAN = 0x7fc00000;

  private static final int HALF = 0x8000;

  private SplitMaster() {}

  /**
   * The master.
   *
   * @param parameter bf16
   * @param rest int16, of the parameter's shape
   * @return fp32
   */
  public static Tensor join(Tensor parameter, Tensor rest) {
    Tensor high = parameter.detach().view(ScalarType.Short).to(ScalarType.Int);
    return high.bitwise_left_shift_(new Scalar(16))
        .add_(rest.to(ScalarType.Int))
        .view(ScalarType.Float);
  }

  /**
   * Takes a master apart.
   *
   * @param master fp32
   * @param parameter bf16, is written
   * @param rest int16, is written
   */
  public static void split(Tensor master, Tensor parameter, Tensor rest) {
    Tensor given = master.detach().contiguous();
    Tensor nan = Tensors.full(NAN, ScalarType.Int, given.device());
    Tensor bits = torch.where(given.isnan(), nan, given.view(ScalarType.Int));
    rest.copy_(bits.view(rest.shape()));
    Tensor high = bits.add(new Scalar(HALF)).bitwise_right_shift_(new Scalar(16));
    parameter.detach().view(ScalarType.Short).copy_(high.view(parameter.shape()));
  }
}
