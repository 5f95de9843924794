package moe4j.training.step;

import moe4j.config.TrainingConfig;
import moe4j.kernels.attention.AttentionBackend;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaStream;
import moe4j.kernels.cuda.Kernels;
import moe4j.model.RunConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.AutogradState;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch;

/**
 * The device that a command computes on, made ready for the calling thread. On a GPU the thread
 * gets a stream of its own, which graphs can be captured on, and does its backwards itself.
 */
public final class ComputeDevice implements AutoCloseable {
  private final Device device;
  private final CudaStream stream;

  private ComputeDevice(Device device, CudaStream stream) {
    this.device = device;
    this.stream = stream;
  }

  /**
   * Opens {@code --device}.
   *
   * @param name {@code cpu} or {@code cuda}
   * @throws IllegalArgumentException in one sentence, where there is no such device
   */
  public static ComputeDevice open(String name) {
    check(name);
    Device device = Scopes.keep(() -> new Device(name));
    if (!device.is_cuda()) {
      return new ComputeDevice(device, null);
    }
    // Java's scopes and guards belong to a thread: autograd's own would be without them.
    Scopes.run(() -> AutogradState.get_tls_state().set_multithreading_enabled(false));
    return new ComputeDevice(device, CudaStream.open());
  }

  /**
   * Checks that a device is there.
   *
   * @throws IllegalArgumentException in one sentence, where it is not
   */
  public static void check(String name) {
    if (name.equals("cuda") && !Cuda.isAvailable()) {
      throw new IllegalArgumentException("--device cuda: " + Cuda.unavailableReason());
    }
  }

  /**
   * Gives each process of a machine a GPU of its own, where that is what the run computes on.
   *
   * @return whether NCCL is to connect them
   * @throws IllegalArgumentException in one sentence, where there are too few
   */
  public static boolean choose(RunConfig config, WorldEnvironment environment) {
    if (environment.isAlone() || !config.training().device().equals("cuda")) {
      return false;
    }
    boolean nccl = config.parallel().distributedBackend().equals("nccl");
    choose(nccl, environment);
    return nccl;
  }

  /**
   * Gives each process of a machine a GPU of its own, or has several share one.
   *
   * @param nccl whether NCCL is to connect them, which takes a GPU a process
   * @throws IllegalArgumentException in one sentence, where there are too few
   */
  public static void choose(boolean nccl, WorldEnvironment environment) {
    int gpus = Cuda.count();
    if (nccl && environment.localSize() > gpus) {
      throw new IllegalArgumentException(
          ("--distributed-backend nccl takes a GPU a process: %d processes on this machine, %d GPUs"
                  + " (--distributed-backend gloo lets processes share one)")
              .formatted(environment.localSize(), gpus));
    }
    Cuda.use(environment.localRank() % gpus);
  }

  /** Opens a run's device and sets how it computes. */
  public static ComputeDevice open(TrainingConfig training) {
    ComputeDevice opened = open(training.device());
    if (opened.device.is_cuda()) {
      Kernels.useOurs(!training.noFusedKernels());
      AttentionBackend.force(AttentionBackend.named(training.attentionBackend()));
      boolean deterministic = training.deterministicMode();
      Scopes.run(
          () -> {
            torch.globalContext().setDeterministicAlgorithms(deterministic, false);
            // Nobody reads what was not written: no need to fill every new tensor.
            torch.globalContext().setDeterministicFillUninitializedMemory(false);
          });
    }
    return opened;
  }

  /** The device. */
  public Device device() {
    return device;
  }

  @Override
  public void close() {
    if (stream != null) {
      Cuda.synchronize();
      stream.close();
      Cuda.emptyCache();
    }
    device.close();
  }
}
