package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

/** {@code GroupBiasCheck} holds it against fp64. */
public class GroupBiasTest {
  @Test
  public void rowsBehindTheLastGroupStay() {
    try (PointerScope scope = new PointerScope()) {
      Tensor y = Tensors.of(Seeds.normals(Seeds.random(GroupBiasTest.class), 10), 5, 2);
      Tensor bias = Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 3, 2);
      Tensor weight = Tensors.of(new float[] {2, 3, 4, 5, 6});
      Tensor added = GroupBias.add(y, bias, Tensor.create(new int[] {1, 1, 4}), weight).sub(y);
      float[] expected = {2, 4, 15, 18, 20, 24, 25, 30, 0, 0};
      float[] actual = Tensors.floats(added);
      for (int i = 0; i < expected.length; i++) {
        assertEquals(actual[i], expected[i], 1e-5);
      }
      Tensor none = torch.zeros(0, 2);
      assertEquals(
          GroupBias.add(none, bias, Tensor.create(new int[3]), null).shape(), new long[] {0, 2});
    }
  }

  @Test
  public void whatDoesNotFitIsRefused() {
    try (PointerScope scope = new PointerScope()) {
      Tensor y = torch.zeros(5, 2);
      Tensor offsets = Tensor.create(new int[] {1, 5});
      Tensor[][] wrong = {
        {torch.zeros(3, 2), null}, {torch.zeros(2, 3), null}, {torch.zeros(2, 2), torch.zeros(4)}
      };
      for (Tensor[] w : wrong) {
        String message =
            expectThrows(
                    IllegalArgumentException.class, () -> GroupBias.add(y, w[0], offsets, w[1]))
                .getMessage();
        assertTrue(message.startsWith("The sizes of 2 groups, their biases "), message);
      }
    }
  }
}
