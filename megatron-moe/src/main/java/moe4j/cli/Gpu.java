package moe4j.cli;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import moe4j.kernels.Scopes;
import org.bytedeco.cuda.cudart.cudaDeviceProp;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch_cuda;

/** The NVIDIA GPU of this machine, in words. */
final class Gpu {
  private Gpu() {}

  /** Why there is none to compute on, in a sentence; null where there is one. */
  static String unavailableReason() {
    return torch.cuda_is_available()
        ? null
        : "there is no NVIDIA GPU to compute on; moe4j doctor says what is missing";
  }

  /** Such as {@code NVIDIA H200 (compute capability 9.0)}. */
  static String name() {
    Map<String, String> facts = describe();
    return facts.get("GPU") + " (compute capability " + facts.get("compute capability") + ")";
  }

  /** Facts by name, for people; only where there is a GPU. */
  static Map<String, String> describe() {
    Map<String, String> facts = new LinkedHashMap<>();
    Scopes.run(
        () -> {
          cudaDeviceProp properties = torch_cuda.getCurrentDeviceProperties();
          facts.put("GPU", properties.name().getString());
          facts.put("compute capability", properties.major() + "." + properties.minor());
          facts.put(
              "GPU memory",
              String.format(Locale.ROOT, "%.1f GiB", properties.totalGlobalMem() / 0x1p30));
          facts.put("multiprocessors", String.valueOf(properties.multiProcessorCount()));
        });
    return facts;
  }
}
