package moe4j.kernels.cuda;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.tensor.Tensors;
import org.bytedeco.cuda.cudart.CUtensorMap;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How Hopper's tensor memory accelerator (TMA) finds boxes of a tensor: the argument of a kernel
 * that copies with {@code cp.async.bulk.tensor}. A box lies in shared memory row by row, and its
 * 16-byte pieces change places within each 128 bytes by the number of the row (CUDA's 128-byte
 * swizzle). What a box has beyond the tensor's end is read as zeros and not written.
 *
 * <p>A map holds the tensor's address, so it is good for as long as the tensor's memory is. Making
 * one is work of the host alone, which a capture allows; a captured launch keeps the map's bytes.
 */
public final class TensorMap {
  /** A map's size as a kernel's argument. */
  static final int BYTES = 128;

  /** Where the encoder wants a map to lie. */
  static final int ALIGNMENT = 64;

  private static final int LONGS = BYTES / Long.BYTES;

  /** The elements of a row of a box that a swizzle of 128 bytes allows. */
  private static final int MOST_INNER = 64;

  private static final int MOST_BOX = 256;

  /** More than the tensors of a step; the least recently used ones are made anew. */
  private static final int KEPT = 4096;

  private static final Map<Key, TensorMap> MAPS =
      new LinkedHashMap<>(64, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Key, TensorMap> eldest) {
          return size() > KEPT;
        }
      };

  private final long[] bits;

  private record Key(long address, List<Long> sizes, List<Long> strides, List<Integer> box) {}

  /** A map of these 128 bytes. */
  TensorMap(long... bits) {
    this.bits = bits;
  }

  /**
   * The map of a tensor. The same tensor and box give the same object, as long as it is kept.
   *
   * @param tensor bf16 on the GPU, of two or three dimensions, none of them 0; the last one's
   *     elements are neighbours, the other strides and the address are multiples of 16 bytes
   * @param box the elements of a box in each of the tensor's dimensions, at most 256, in the last
   *     at most 64
   * @throws IllegalArgumentException where the tensor or the box is of another kind
   */
  public static TensorMap of(Tensor tensor, int... box) {
    check(tensor, box);
    Pointer data = tensor.data_ptr();
    Key key =
        new Key(
            data.address(),
            Arrays.stream(tensor.shape()).boxed().toList(),
            Arrays.stream(strides(tensor)).boxed().toList(),
            Arrays.stream(box).boxed().toList());
    synchronized (MAPS) {
      return MAPS.computeIfAbsent(key, unknown -> encode(unknown, data));
    }
  }

  private static long[] strides(Tensor tensor) {
    long[] strides = new long[Math.toIntExact(tensor.dim())];
    for (int i = 0; i < strides.length; i++) {
      strides[i] = tensor.stride(i);
    }
    return strides;
  }

  /** What the encoder would refuse, without saying why. */
  static void check(Tensor tensor, int... box) {
    long rank = tensor.dim();
    boolean fits = rank == box.length && (rank == 2 || rank == 3);
    fits &= tensor.is_cuda() && Tensors.dtype(tensor) == ScalarType.BFloat16;
    for (int i = 0; fits && i < rank; i++) {
      boolean last = i == rank - 1;
      fits =
          tensor.size(i) > 0
              && box[i] > 0
              && box[i] <= (last ? MOST_INNER : MOST_BOX)
              && (last ? tensor.stride(i) == 1 : tensor.stride(i) % 8 == 0);
    }
    if (!fits || !Launch.aligned(tensor)) {
      throw new IllegalArgumentException(
          "A tensor map is of a bf16 tensor on the GPU that begins at a multiple of 16 bytes, as"
              + " does each of its rows, and of a box of at most 256 rows of 64 elements, not of"
              + " shape %s in %s and a box of %s."
                  .formatted(Tensors.shape(tensor), Tensors.dtype(tensor), Arrays.toString(box)));
    }
  }

  private static TensorMap encode(Key key, Pointer data) {
    int rank = key.sizes.size();
    // The encoder counts dimensions from the innermost one, whose stride it does not ask for.
    long[] sizes = new long[rank];
    long[] strides = new long[rank - 1];
    int[] box = new int[rank];
    int[] steps = new int[rank];
    Arrays.fill(steps, 1);
    for (int i = 0; i < rank; i++) {
      sizes[i] = key.sizes.get(rank - 1 - i);
      box[i] = key.box.get(rank - 1 - i);
      if (i > 0) {
        strides[i - 1] = key.strides.get(rank - 1 - i) * Short.BYTES;
      }
    }
    try (PointerScope scope = new PointerScope();
        BytePointer memory = new BytePointer(BYTES + ALIGNMENT)) {
      long[] bits = new long[LONGS];
      LongPointer map = new LongPointer(aligned(memory));
      CudaErrors.driver(
          cudart.cuTensorMapEncodeTiled(
              new CUtensorMap(map),
              cudart.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
              rank,
              data,
              sizes,
              strides,
              box,
              steps,
              cudart.CU_TENSOR_MAP_INTERLEAVE_NONE,
              cudart.CU_TENSOR_MAP_SWIZZLE_128B,
              cudart.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
              cudart.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
          () -> "make a map of a tensor of shape " + key.sizes + " with boxes of " + key.box);
      map.get(bits);
      return new TensorMap(bits);
    }
  }

  /** The first place in some memory where a map may lie. */
  static Pointer aligned(BytePointer memory) {
    long beyond = memory.address() % ALIGNMENT;
    return memory.getPointer(beyond == 0 ? 0 : ALIGNMENT - beyond);
  }

  /** Writes the map to where an argument is to lie. */
  void write(LongPointer target) {
    target.put(bits);
  }
}
