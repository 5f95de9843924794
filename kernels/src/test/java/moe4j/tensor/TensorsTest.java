package moe4j.tensor;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertThrows;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class TensorsTest {
  private static final Device CPU = new Device("cpu");

  private PointerScope scope;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  @DataProvider
  public Object[][] types() {
    return new Object[][] {
      {ScalarType.Float},
      {ScalarType.BFloat16},
      {ScalarType.Double},
      {ScalarType.Long},
      {ScalarType.Int},
      {ScalarType.Bool},
      {ScalarType.Byte}
    };
  }

  @Test(dataProvider = "types")
  public void aTypeIsItsConstant(ScalarType type) {
    assertSame(Tensors.dtype(Tensors.zeros(type, CPU, 2)), type);
    assertSame(Tensors.dtype(Tensors.full(1, type, CPU)), type);
  }

  /**
   * Of a tensor of more than 2^31 bytes: its memory is asked for, and of it only this is touched.
   */
  @Test
  public void aWindowLiesAnywhere() {
    long size = (1L << 31) + 64;
    Tensor t = Tensors.emptyHost(ScalarType.Byte, false, size);
    for (long offset : new long[] {0, 5, (1L << 31) - 3, 1L << 31, size - 8}) {
      ByteBuffer window = Tensors.window(t, offset, 8);
      assertEquals(window.remaining(), 8, "bytes from " + offset);
      window.putLong(0x0807060504030201L);
      for (int i = 0; i < 8; i++) {
        assertEquals(Tensors.item(t.narrow(0, offset + i, 1)), i + 1.0, offset + " and " + i);
      }
    }
    assertEquals(Tensors.window(t, 7, 0).remaining(), 0);
  }

  @Test
  public void toJavaAndBack() {
    Tensor t = Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 2, 3);
    assertEquals(t.shape(), new long[] {2, 3});
    // Row-major, whatever the strides are.
    assertEquals(Tensors.floats(t.t()), new float[] {1, 4, 2, 5, 3, 6});
    assertEquals(Tensors.floats(t.to(ScalarType.BFloat16)), new float[] {1, 2, 3, 4, 5, 6});
    assertEquals(Tensors.longs(t.t()), new long[] {1, 4, 2, 5, 3, 6});
    assertEquals(Tensors.floats(Tensors.of(new float[] {7})), new float[] {7});
    long big = (1L << 53) + 1;
    assertEquals(Tensors.longs(Tensors.of(new long[] {big, -1}, 1, 2)), new long[] {big, -1});
    assertEquals(Tensors.floats(torch.empty(0)), new float[0]);
    assertEquals(Tensors.longs(torch.empty(0)), new long[0]);
    assertEquals(Tensors.shape(t), "[2, 3]");
  }

  @Test
  public void aCopyIsACopy() {
    float[] values = {1, 2};
    Tensor t = Tensors.of(values);
    values[0] = 9;
    assertEquals(Tensors.floats(t), new float[] {1, 2});
    Tensors.floats(t)[1] = 9;
    assertEquals(Tensors.floats(t), new float[] {1, 2});
  }

  @Test
  public void items() {
    assertEquals(Tensors.item(Tensors.full(0.1, ScalarType.Double, CPU)), 0.1);
    assertEquals(Tensors.item(Tensors.full(0.1, ScalarType.Float, CPU)), (double) 0.1f);
    assertEquals(Tensors.item(Tensors.full(3, ScalarType.Long, CPU).set_requires_grad(false)), 3.0);
    assertEquals(Tensors.item(torch.ones(1).set_requires_grad(true)), 1.0);
  }

  @Test
  public void aSliceIsAView() {
    Tensor t = Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 2, 3);
    Tensor slice = Tensors.slice(t, 1, 1, 3);
    assertEquals(Tensors.floats(slice), new float[] {2, 3, 5, 6});
    slice.zero_();
    assertEquals(Tensors.floats(t), new float[] {1, 0, 0, 4, 0, 0});
    assertEquals(Tensors.vector(List.of(t, slice)).size(), 2);
    assertFalse(Tensors.optional(null).has_value());
    assertEquals(Tensors.floats(Tensors.optional(t).get()), Tensors.floats(t));
  }

  @Test
  public void windowsShareMemory() throws IOException {
    Tensor t = Tensors.of(new float[] {1, 2, 3, 4}, 4);
    ByteBuffer window = Tensors.window(t, 4, 8);
    assertEquals(window.remaining(), 8);
    assertEquals(window.getFloat(), 2f);
    window.putFloat(30f);
    assertEquals(Tensors.floats(t), new float[] {1, 2, 30, 4});
    ByteBuffer copy = ByteBuffer.allocate(16).order(java.nio.ByteOrder.LITTLE_ENDIAN);
    Tensors.bytes(t, copy::put);
    assertEquals(copy.getFloat(8), 30f);
    // A view's bytes are its own.
    assertEquals(Tensors.window(Tensors.slice(t, 0, 2, 4), 0, 8).getFloat(), 30f);
    Tensor transposed = Tensors.zeros(ScalarType.Float, CPU, 2, 3).t();
    assertThrows(IllegalArgumentException.class, () -> Tensors.bytes(transposed, bytes -> {}));
  }
}
