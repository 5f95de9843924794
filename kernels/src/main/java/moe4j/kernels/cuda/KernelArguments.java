package moe4j.kernels.cuda;

import moe4j.tensor.Scopes;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.pytorch.Tensor;

/**
 * A thread's memory for the arguments of a launch, which libcuda copies while it launches: eight
 * bytes each, of which a smaller one takes the first, and apart from them some for tensor maps.
 */
final class KernelArguments {
  private static final int MOST = 64;
  private static final int MOST_MAPS = 8;

  private final LongPointer values = Scopes.keep(() -> new LongPointer(MOST));
  private final BytePointer mapped =
      Scopes.keep(() -> new BytePointer(MOST_MAPS * TensorMap.BYTES + TensorMap.ALIGNMENT));
  private final PointerPointer<Pointer> addresses = Scopes.keep(() -> new PointerPointer<>(MOST));

  /** Whether an argument's address is a map's, and not that of its eight bytes. */
  private final boolean[] isMap = new boolean[MOST];

  KernelArguments() {
    for (int i = 0; i < MOST; i++) {
      point(i);
    }
  }

  /** Lets an argument lie in its eight bytes. */
  private void point(int argument) {
    addresses.put(argument, values.getPointer(argument));
    isMap[argument] = false;
  }

  /**
   * Takes arguments in.
   *
   * @return their addresses, until the next call
   */
  PointerPointer<Pointer> pack(CudaKernel kernel, Object[] arguments) {
    if (arguments.length > MOST) {
      throw new IllegalArgumentException(
          kernel + " has " + arguments.length + " arguments; the most is " + MOST + ".");
    }
    int maps = 0;
    for (int i = 0; i < arguments.length; i++) {
      if (arguments[i] instanceof TensorMap map) {
        if (maps == MOST_MAPS) {
          throw new IllegalArgumentException(
              kernel + " has more than " + MOST_MAPS + " tensor maps, which is the most.");
        }
        LongPointer place =
            new LongPointer(TensorMap.aligned(mapped).getPointer((long) maps * TensorMap.BYTES));
        map.write(place);
        addresses.put(i, place);
        isMap[i] = true;
        maps++;
      } else {
        if (isMap[i]) {
          point(i);
        }
        values.put(i, bits(kernel, i, arguments[i]));
      }
    }
    return addresses;
  }

  private static long bits(CudaKernel kernel, int index, Object argument) {
    if (argument instanceof Tensor tensor) {
      return address(kernel, index, tensor);
    }
    if (argument instanceof Integer number) {
      return number;
    }
    if (argument instanceof Long number) {
      return number;
    }
    if (argument instanceof Float number) {
      return Float.floatToRawIntBits(number);
    }
    if (argument == null) {
      return 0;
    }
    throw refused(kernel, index, "is a " + argument.getClass().getSimpleName());
  }

  private static long address(CudaKernel kernel, int index, Tensor tensor) {
    if (!tensor.defined() || !tensor.is_cuda()) {
      throw refused(kernel, index, "is not on the GPU");
    }
    if (!tensor.is_contiguous()) {
      throw refused(kernel, index, "is not contiguous");
    }
    // An empty tensor has no address.
    Pointer data = tensor.data_ptr();
    return data == null ? 0 : data.address();
  }

  private static IllegalArgumentException refused(CudaKernel kernel, int index, String fault) {
    return new IllegalArgumentException(
        "Argument "
            + (index + 1)
            + " of "
            + kernel
            + " "
            + fault
            + ": a contiguous CUDA tensor, null, a tensor map, Long, Integer or Float is wanted.");
  }
}
