package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

public class BoxedOpTest {
  @Test
  public void tensorsNumbersFlagsListsAndNone() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 2, 3);
      Tensor sum = BoxedOp.find("aten::cumsum", "").call(x, 1L, null);
      assertEquals(Tensors.floats(sum), new float[] {1, 3, 6, 4, 9, 15});
      Tensor scaled = BoxedOp.find("aten::add", "Tensor").call(x, x, 0.5);
      assertEquals(Tensors.floats(scaled), new float[] {1.5f, 3, 4.5f, 6, 7.5f, 9});
      Tensor stacked = BoxedOp.find("aten::cat", "").call(List.of(x, x), 0L);
      assertEquals(stacked.shape(), new long[] {4, 3});
      Tensor order = BoxedOp.find("aten::argsort", "").call(x, 1L, true);
      assertEquals(Tensors.longs(order), new long[] {2, 1, 0, 2, 1, 0});
      List<Tensor> parts = BoxedOp.find("aten::unbind", "int").callForList(x, 0L);
      assertEquals(parts.size(), 2);
      assertEquals(Tensors.floats(parts.get(1)), new float[] {4, 5, 6});
    }
  }

  @Test
  public void gradientsGoThrough() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = torch.ones(3).set_requires_grad(true);
      BoxedOp.find("aten::mul", "Tensor")
          .call(x, Tensors.of(new float[] {2, 3, 4}))
          .sum()
          .backward();
      assertEquals(Tensors.floats(x.grad()), new float[] {2, 3, 4});
    }
  }

  @Test
  public void whatDoesNotExistIsRefused() {
    assertThrows(RuntimeException.class, () -> BoxedOp.find("aten::no_such_operator", ""));
    BoxedOp add = BoxedOp.find("aten::add", "Tensor");
    assertThrows(IllegalArgumentException.class, () -> add.call("text"));
  }

  @Test
  public void callsLeaveNothingBehind() {
    BoxedOp add = BoxedOp.find("aten::add", "Tensor");
    BoxedOp cat = BoxedOp.find("aten::cat", "");
    Tensor x = Scopes.keep(() -> torch.ones(3));
    Scopes.run(() -> add.call(x, x, 1.0));
    long before = Scopes.livePointers();
    for (int i = 0; i < 20; i++) {
      Scopes.run(() -> add.call(x, x, 1.0));
      Scopes.run(() -> assertFalse(cat.elementType(0).isNull()));
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    x.close();
  }
}
