package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** Where a launch's arguments lie in memory: no GPU is needed. */
public class KernelArgumentsTest {
  private static final CudaKernel KERNEL = CudaKernel.of("t/t.cu", "f");

  private static TensorMap map(long first) {
    long[] bits = new long[16];
    Arrays.setAll(bits, i -> first + i);
    return new TensorMap(bits);
  }

  /** The first longs of each argument. */
  private static long[] longs(PointerPointer<Pointer> addresses, int argument, int count) {
    long[] longs = new long[count];
    new LongPointer(addresses.get(argument)).get(longs);
    return longs;
  }

  @Test
  public void aMapLiesAtItsAlignmentAndNumbersInTheirSlots() {
    Scopes.run(
        () -> {
          KernelArguments arguments = new KernelArguments();
          for (int round = 0; round < 2; round++) {
            PointerPointer<Pointer> packed =
                arguments.pack(KERNEL, new Object[] {7L, map(100), 3, map(200), null, 1.5f});
            assertEquals(longs(packed, 0, 1)[0], 7);
            assertEquals((int) longs(packed, 2, 1)[0], 3);
            assertEquals(longs(packed, 4, 1)[0], 0);
            assertEquals((int) longs(packed, 5, 1)[0], Float.floatToRawIntBits(1.5f));
            for (int i = 1; i <= 3; i += 2) {
              assertEquals(packed.get(i).address() % TensorMap.ALIGNMENT, 0);
              long first = i == 1 ? 100 : 200;
              assertEquals(longs(packed, i, 16)[15], first + 15);
            }
            // Each argument lies in its slot again after a launch in which it was a map.
            packed = arguments.pack(KERNEL, new Object[] {1L, 2L, map(300), 4L});
            assertEquals(longs(packed, 1, 1)[0], 2);
            assertEquals(longs(packed, 2, 16)[0], 300);
            assertEquals(longs(packed, 3, 1)[0], 4);
          }
        });
  }

  @Test
  public void whatIsNoArgumentIsRefused() {
    KernelArguments arguments = new KernelArguments();
    refuses(arguments, "is a String", 1L, "two");
    Object[] maps = new Object[9];
    Arrays.setAll(maps, i -> map(i));
    refuses(arguments, "more than 8 tensor maps", maps);
    refuses(arguments, "has 65 arguments; the most is 64", new Object[65]);
    Scopes.run(() -> refuses(arguments, "is not on the GPU", Tensors.of(new long[] {1})));
  }

  private static void refuses(KernelArguments arguments, String fault, Object... given) {
    String message =
        expectThrows(IllegalArgumentException.class, () -> arguments.pack(KERNEL, given))
            .getMessage();
    assertTrue(message.contains(fault), message);
  }

  /** The encoder says of none of these what is wrong with it. */
  @Test
  public void aMapIsOfBf16OnTheGpu() {
    Scopes.run(
        () -> {
          Tensor x = Tensors.zeros(ScalarType.Float, Tensors.of(new long[] {1}).device(), 4, 64);
          String message =
              expectThrows(IllegalArgumentException.class, () -> TensorMap.of(x, 4, 64))
                  .getMessage();
          assertTrue(message.endsWith("not of shape [4, 64] in Float and a box of [4, 64]."));
        });
  }
}
