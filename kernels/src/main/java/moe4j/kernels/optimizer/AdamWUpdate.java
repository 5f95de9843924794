package moe4j.kernels.optimizer;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The launches of a step of {@link FusedAdamW} that update. Where the GPU copies to shared memory
 * and back by itself, a kernel for each kind of slots streams the whole pieces of large ones
 * (adamw_stream.cu); what is left, which is all elsewhere, another one takes (adamw.cu). Both
 * compute the same bits.
 *
 * <p>A captured launch may be replayed after gradients have been bound that lie elsewhere: so the
 * numbers of pieces and of chunks are in tables on the device. A captured step has launches for the
 * kinds of slots that there were then, so the first launch settles which kinds have a kernel: slots
 * that become of another kind later are not streamed.
 */
final class AdamWUpdate implements AutoCloseable {
  /** Of a piece, as in adamw_stream.cu, beside which two warps copy. */
  private static final int STREAM_WARPS = 8;

  /** Blocks of adamw.cu that a multiprocessor has at once. */
  private static final int RESIDENT = 2;

  private final int slots;
  private final int threads;
  private final long blocks;
  private final String[] defines;
  private final boolean streams;
  private final Tensor rests;
  private final Map<Long, Tensor> runs = new TreeMap<>();
  private List<Long> bound = List.of();
  private boolean settled;

  /**
   * The update of the slots of a table.
   *
   * @param threads of a block of adamw.cu
   * @param chunks how many there are of all slots
   * @param moments the definitions of their types, where they are not fp32
   * @param streams if false, nothing is streamed, whatever the GPU
   */
  AdamWUpdate(
      long[] table, int threads, int chunks, String[] moments, Device device, boolean streams) {
    this.slots = table.length / SlotTable.WORDS;
    this.threads = threads;
    this.streams = streams && Cuda.takesTensorMaps();
    this.defines = new String[] {moments[0], moments[1], "STREAMS=" + (this.streams ? 1 : 0)};
    this.blocks =
        this.streams ? Math.min(chunks, (long) RESIDENT * Cuda.multiprocessors()) : chunks;
    this.rests = Scopes.keep(() -> Tensors.zeros(ScalarType.Long, device, 1L + chunks));
  }

  /** What adamw.cu is compiled with. */
  String[] defines() {
    return defines.clone();
  }

  /** Marks in a table the slots that are streamed, and tells the kernels. */
  void bind(long[] table) {
    if (streams && !settled) {
      SlotTable.mark(table, kind -> true);
      for (long kind : SlotTable.runs(table).keySet()) {
        runs.computeIfAbsent(
            kind,
            k ->
                Scopes.keep(() -> Tensors.zeros(ScalarType.Long, rests.device(), 1L + 2L * slots)));
      }
    }
    SlotTable.mark(table, runs::containsKey);
    List<Long> types = SlotTable.types(table);
    if (!types.equals(bound)) {
      Map<Long, long[]> own = SlotTable.runs(table);
      runs.forEach((kind, run) -> write(run, own.getOrDefault(kind, new long[1])));
      write(rests, SlotTable.rests(table));
      bound = types;
    }
  }

  private static void write(Tensor table, long[] entries) {
    Scopes.run(() -> table.narrow(0, 0, entries.length).copy_(Tensors.of(entries)));
  }

  /** Whether there are slots with pieces that are streamed, among those bound last. */
  boolean isStreaming() {
    return bound.stream().anyMatch(type -> (type & SlotTable.STREAMED) != 0);
  }

  /** Updates all slots. */
  void launch(Tensor table, Tensor scalars, boolean zeroAfter) {
    settled = true;
    int zero = zeroAfter ? 1 : 0;
    runs.forEach(
        (kind, run) ->
            CudaKernel.of("optimizer/adamw_stream.cu", "update_stream", streamDefines(kind))
                .launch(
                    Cuda.multiprocessors(),
                    32 * (STREAM_WARPS * groups(kind) + 2),
                    (int) Cuda.blockMemory(),
                    table,
                    run,
                    scalars,
                    zero));
    CudaKernel.of("optimizer/adamw.cu", "update_all", defines)
        .launch(blocks, threads, 0, table, rests, scalars, zero);
  }

  /** How many pieces a block computes on at once: more where a piece has fewer bytes. */
  private static int groups(long kind) {
    return (kind & SlotTable.MOMENTS_LOW) == 0 ? 2 : 3;
  }

  private String[] streamDefines(long kind) {
    boolean low = (kind & SlotTable.MOMENTS_LOW) != 0;
    String master =
        (kind & SlotTable.PARAMETER_BF16) == 0
            ? "Itself"
            : (kind & SlotTable.MASTER_REST) == 0 ? "Apart" : "Rest";
    return new String[] {
      low ? defines[0] : "FIRST=float",
      low ? defines[1] : "SECOND=float",
      "MASTER=" + master,
      "GRADIENT=" + ((kind & SlotTable.GRADIENT_BF16) == 0 ? "float" : "bf16"),
      "GROUPS=" + groups(kind),
      "MEMORY=" + Cuda.blockMemory()
    };
  }

  @Override
  public void close() {
    rests.close();
    runs.values().forEach(Tensor::close);
  }
}
