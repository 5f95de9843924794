package moe4j.kernels.cuda;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.bytedeco.cuda.global.nvrtc;
import org.bytedeco.cuda.nvrtc._nvrtcProgram;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;

/** CUDA's compiler as a library. It needs no GPU. */
final class Nvrtc {
  /** Such as {@code norm/norm.cu(12): error: ...}; warnings look the same but for that word. */
  private static final Pattern ERROR = Pattern.compile(".*\\(\\d+\\): (catastrophic )?error.*");

  private static final int SHOWN_ERRORS = 3;

  /**
   * What ptxas says of products on Hopper's tensor cores that it makes wait for each other, and of
   * registers that it does not move between a block's warps: the code is right, but many times as
   * slow as it was written to be.
   */
  private static final Pattern SERIALISED =
      Pattern.compile(".*\\(C75\\d\\d\\) .*(serialized|setmaxnreg).*");

  private Nvrtc() {}

  /** Such as {@code 13.0}. */
  static String version() {
    int[] major = new int[1];
    int[] minor = new int[1];
    check(nvrtc.nvrtcVersion(major, minor), "tell its version");
    return major[0] + "." + minor[0];
  }

  /**
   * Compiles a source.
   *
   * @param name what errors call the source
   * @param headers text by the name it is included by
   * @param defines such as {@code H=768}
   * @param architecture such as {@code sm_90a}
   * @return the machine code of that architecture
   * @throws IllegalStateException naming file and line of the first errors; or where the compiler
   *     has taken the speed out of products on tensor cores
   */
  static byte[] compile(
      String name,
      String text,
      Map<String, String> headers,
      List<String> defines,
      String architecture) {
    List<String> options = new ArrayList<>();
    options.add("--gpu-architecture=" + architecture);
    options.add("--std=c++17");
    String what = name + (defines.isEmpty() ? "" : " " + defines) + " for " + architecture;
    try (PointerScope scope = new PointerScope()) {
      List<String> includes = List.copyOf(headers.keySet());
      List<String> texts = includes.stream().map(headers::get).toList();
      _nvrtcProgram program = new _nvrtcProgram();
      check(
          nvrtc.nvrtcCreateProgram(
              program,
              new BytePointer(defined(name, text, defines), StandardCharsets.UTF_8),
              new BytePointer(name, StandardCharsets.UTF_8),
              includes.size(),
              strings(texts),
              strings(includes)),
          "take the source " + name);
      try {
        int status = nvrtc.nvrtcCompileProgram(program, options.size(), strings(options));
        if (status == nvrtc.NVRTC_ERROR_COMPILATION) {
          throw new IllegalStateException(
              "The kernels in " + what + " do not compile: " + firstErrors(log(program)));
        }
        check(status, "compile " + what);
        String serialised = serialised(log(program));
        if (serialised != null) {
          throw new IllegalStateException(
              ("The kernels in %s would be slow with NVRTC %s, which says: %s. Do without them"
                      + " (--moe-grouped-products libtorch), or take another version of CUDA.")
                  .formatted(what, version(), serialised));
        }
        return cubin(program, what);
      } finally {
        nvrtc.nvrtcDestroyProgram(program);
      }
    }
  }

  /**
   * The source below its definitions, with lines counted as before. As options they would come
   * before the compiler's own header, too, whose templates have parameters named T.
   */
  static String defined(String name, String text, List<String> defines) {
    StringBuilder all = new StringBuilder();
    for (String define : defines) {
      int equals = define.indexOf('=');
      all.append("#define ")
          .append(equals < 0 ? define + " 1" : define.replaceFirst("=", " "))
          .append('\n');
    }
    return all.append("#line 1 \"").append(name).append("\"\n").append(text).toString();
  }

  /** The first errors of a compiler's log, each with its file and line, in one line. */
  static String firstErrors(String log) {
    List<String> errors =
        log.lines().map(String::trim).filter(line -> ERROR.matcher(line).matches()).toList();
    if (errors.isEmpty()) {
      return log.strip().lines().findFirst().orElse("the compiler gives no reason");
    }
    int shown = Math.min(errors.size(), SHOWN_ERRORS);
    String rest = errors.size() > shown ? "; and " + (errors.size() - shown) + " more" : "";
    return String.join("; ", errors.subList(0, shown)) + rest;
  }

  /** The first line that tells of products made to wait for each other; null for none. */
  static String serialised(String log) {
    return log.lines()
        .map(String::strip)
        .filter(line -> SERIALISED.matcher(line).matches())
        .findFirst()
        .orElse(null);
  }

  private static byte[] cubin(_nvrtcProgram program, String what) {
    SizeTPointer size = new SizeTPointer(1);
    check(nvrtc.nvrtcGetCUBINSize(program, size), "give the size of " + what);
    byte[] cubin = new byte[Math.toIntExact(size.get())];
    BytePointer target = new BytePointer(cubin.length);
    check(nvrtc.nvrtcGetCUBIN(program, target), "give the code of " + what);
    target.get(cubin);
    return cubin;
  }

  private static String log(_nvrtcProgram program) {
    SizeTPointer size = new SizeTPointer(1);
    check(nvrtc.nvrtcGetProgramLogSize(program, size), "give its log");
    BytePointer log = new BytePointer(size.get() + 1).zero();
    check(nvrtc.nvrtcGetProgramLog(program, log), "give its log");
    return log.getString(StandardCharsets.UTF_8);
  }

  private static PointerPointer<BytePointer> strings(List<String> strings) {
    return strings.isEmpty()
        ? null
        : new PointerPointer<>(strings.toArray(String[]::new), StandardCharsets.UTF_8);
  }

  private static void check(int status, String what) {
    if (status != nvrtc.NVRTC_SUCCESS) {
      throw new IllegalStateException(
          "NVRTC could not " + what + ": " + nvrtc.nvrtcGetErrorString(status).getString() + ".");
    }
  }
}
