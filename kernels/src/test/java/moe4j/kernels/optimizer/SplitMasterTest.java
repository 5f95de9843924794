package moe4j.kernels.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

public class SplitMasterTest {
  private static final Device CPU = new Device("cpu");

  private static Tensor lowHalves(int high) {
    Tensor low = torch.arange(new Scalar(0), new Scalar(65_536)).to(ScalarType.Int);
    return low.bitwise_or(new Scalar(high << 16)).view(ScalarType.Float);
  }

  /** All lower halves of some upper ones: the same bits again, and the parameter the nearest. */
  @Test
  public void mastersComeBackWithTheirBits() {
    Random random = Seeds.random(SplitMasterTest.class);
    int[] special = {0, 1, 0x7f, 0x80, 0x7f7e, 0x7f7f, 0x8000, 0x8001, 0xff7e, 0xff7f};
    for (int i = 0; i < 150; i++) {
      int high = i < special.length ? special[i] : random.nextInt(0xff80) & 0xff7f;
      Scopes.run(
          () -> {
            Tensor master = lowHalves(high);
            Tensor parameter = Tensors.zeros(ScalarType.BFloat16, CPU, 65_536);
            Tensor rest = Tensors.zeros(ScalarType.Short, CPU, 65_536);
            SplitMaster.split(master, parameter, rest);
            Tensor joined = SplitMaster.join(parameter, rest);
            assertTrue(joined.view(ScalarType.Int).equal(master.view(ScalarType.Int)), "" + high);
            // To the even one only exactly half way, where that is below.
            Tensor even = master.to(ScalarType.BFloat16);
            Tensor other = parameter.view(ScalarType.Short).ne(even.view(ScalarType.Short));
            assertEquals(Tensors.item(other.sum()), high % 2 == 0 ? 1.0 : 0.0, "" + high);
            assertEquals(Tensors.item(other.select(0, 0x8000)), high % 2 == 0 ? 1.0 : 0.0);
          });
    }
  }

  @Test
  public void infinitiesComeBackAndNansStayNans() {
    Scopes.run(
        () -> {
          float nan = Float.intBitsToFloat(0x7fffffff);
          float other = Float.intBitsToFloat(0xffc00001);
          float[] values = {Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, nan, other, -0f};
          Tensor parameter = Tensors.zeros(ScalarType.BFloat16, CPU, values.length);
          Tensor rest = Tensors.zeros(ScalarType.Short, CPU, values.length);
          SplitMaster.split(Tensors.of(values, values.length), parameter, rest);
          assertEquals(Tensors.floats(SplitMaster.join(parameter, rest)), values);
          assertEquals(Tensors.floats(parameter), values);
        });
  }
}
