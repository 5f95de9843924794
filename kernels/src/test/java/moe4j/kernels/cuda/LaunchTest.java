package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** What launchers check of their tensors: no GPU is needed. */
public class LaunchTest {
  /** A kernel that reads int64 would read beyond a tensor of as many int32. */
  @Test
  public void aTensorOfAnotherTypeOrSizeIsRefused() {
    Scopes.run(
        () -> {
          Tensor labels = Tensors.of(new long[] {1, 2, 3});
          Launch.require(labels, "labels", ScalarType.Long, 3);
          refuses(labels.to(ScalarType.Int), "not of shape [3] and type Int.");
          refuses(labels.narrow(0, 0, 2), "not of shape [2] and type Long.");
        });
  }

  private static void refuses(Tensor labels, String given) {
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> Launch.require(labels, "labels", ScalarType.Long, 3))
            .getMessage(),
        "A kernel takes labels of 3 elements of type Long, " + given);
  }
}
