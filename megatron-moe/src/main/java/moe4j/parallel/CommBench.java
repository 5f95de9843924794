package moe4j.parallel;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import moe4j.kernels.cuda.Cuda;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.LongVector;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Work;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The time of each collective, through {@link Group} and called of c10d directly, in turn on the
 * same tensors: what our layer adds.
 */
public final class CommBench {
  private final World world;
  private final Device device;
  private final ScalarType dtype;
  private final int warmup;
  private final int rounds;
  private final Backend raw;
  private final Group group;

  /**
   * @param dtype fp32 or bf16
   * @param nccl whether NCCL connects the ranks, and not Gloo
   * @param warmup rounds that do not count
   * @param rounds that do
   */
  public CommBench(
      World world, Device device, ScalarType dtype, boolean nccl, int warmup, int rounds) {
    this.world = world;
    this.device = device;
    this.dtype = dtype;
    this.warmup = warmup;
    this.rounds = rounds;
    List<Integer> all = IntStream.range(0, world.size()).boxed().toList();
    this.group = world.group("bench", all, nccl);
    this.raw = world.backend("bench-raw", all, nccl);
  }

  /** A way of doing a collective. */
  private interface Call {
    void make();
  }

  /**
   * What a collective took.
   *
   * @param bytes of the tensor that every rank has of it: the whole one
   * @param ours median microseconds through our layer
   * @param direct the same of c10d
   * @param least the fastest round of ours
   * @param most the slowest
   * @param bus what each link carried, GB/s, by NCCL's convention
   */
  public record Result(
      String collective,
      long bytes,
      double ours,
      double direct,
      double least,
      double most,
      double bus) {
    @Override
    public String toString() {
      return String.format(
          Locale.ROOT,
          "%-15s %12d B | ours %10.1f us (%.1f to %.1f) | c10d %10.1f us | ratio %.3f | %8.3f GB/s",
          collective,
          bytes,
          ours,
          least,
          most,
          direct,
          ours / direct,
          bus);
    }
  }

  /**
   * Times all collectives at a size; all ranks do.
   *
   * @param bytes of a whole tensor, at least the ranks' number times the element's size
   * @param out is given each result
   */
  public void run(long bytes, Consumer<Result> out) {
    int n = world.size();
    long each = Math.max(1, bytes / elementSize() / n);
    long whole = each * n;
    try (PointerScope scope = new PointerScope()) {
      Tensor large = Tensors.zeros(dtype, device, whole);
      Tensor other = Tensors.zeros(dtype, device, whole);
      Tensor small = Tensors.zeros(dtype, device, each);
      long[] rows = new long[n];
      java.util.Arrays.fill(rows, each);
      TensorVector vector = new TensorVector(large);
      double ring = (n - 1.0) / n;
      out.accept(
          time(
              "all-reduce",
              whole,
              2 * ring,
              () -> group.allReduce(large, Group.Reduction.SUM).await(),
              () -> wait(raw.allreduce(vector))));
      out.accept(
          time(
              "all-gather",
              whole,
              ring,
              () -> group.allGather(large, small).await(),
              () -> wait(raw._allgather_base(large, small))));
      out.accept(
          time(
              "reduce-scatter",
              whole,
              ring,
              () -> group.reduceScatter(small, large).await(),
              () -> wait(raw._reduce_scatter_base(small, large))));
      out.accept(
          time(
              "all-to-all",
              whole,
              ring,
              () -> group.allToAll(other, large, rows, rows).await(),
              () ->
                  wait(
                      raw.alltoall_base(
                          other, large, new LongVector(rows), new LongVector(rows)))));
      out.accept(
          time(
              "broadcast",
              whole,
              1,
              () -> group.broadcast(large, 0).await(),
              () -> wait(raw.broadcast(vector))));
    }
  }

  private int elementSize() {
    return dtype == ScalarType.BFloat16 ? 2 : 4;
  }

  private static void wait(Work work) {
    work._wait();
    work.close();
  }

  private Result time(String name, long elements, double factor, Call ours, Call direct) {
    List<Double> mine = new ArrayList<>();
    List<Double> theirs = new ArrayList<>();
    for (int i = 0; i < warmup + rounds; i++) {
      // In turn, and each first in half of the rounds: neither has the quieter machine.
      boolean first = i % 2 == 0;
      double a = once(first ? ours : direct);
      double b = once(first ? direct : ours);
      if (i >= warmup) {
        mine.add(first ? a : b);
        theirs.add(first ? b : a);
      }
    }
    double median = median(mine);
    long bytes = elements * elementSize();
    return new Result(
        name,
        bytes,
        median,
        median(theirs),
        mine.stream().min(Double::compare).get(),
        mine.stream().max(Double::compare).get(),
        factor * bytes / median / 1e3);
  }

  /** Microseconds of a call that all ranks begin together. */
  private double once(Call call) {
    world.barrier();
    long begin = System.nanoTime();
    Scopes.run(
        () -> {
          call.make();
          if (device.is_cuda()) {
            Cuda.synchronize();
          }
        });
    return (System.nanoTime() - begin) / 1e3;
  }

  private static double median(List<Double> values) {
    List<Double> sorted = values.stream().sorted().toList();
    int n = sorted.size();
    return (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
  }
}
