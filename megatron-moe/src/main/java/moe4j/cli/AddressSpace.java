package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * {@code ulimit -v}: a limit of addresses, of which Java and libtorch reserve many more than they
 * use. Where too few are left, native libraries end the process in words of their own, if any.
 */
final class AddressSpace {
  /** What libtorch and its first kernels took on a CPU, and half as much. */
  private static final long NEEDED = 1L << 30;

  private static final Pattern LIMIT = Pattern.compile("(?m)^Max address space +(\\d+) ");
  private static final Pattern TAKEN = Pattern.compile("(?m)^VmSize:\\s+(\\d+) kB");

  private AddressSpace() {}

  /** What is to be said of this process, if anything. */
  static Optional<String> shortage() {
    try {
      return shortage(
          Files.readString(Path.of("/proc/self/limits")),
          Files.readString(Path.of("/proc/self/status")));
    } catch (IOException e) {
      // Another system than Linux.
      return Optional.empty();
    }
  }

  /** The same of the two files' contents. */
  static Optional<String> shortage(String limits, String status) {
    Matcher limit = LIMIT.matcher(limits);
    Matcher taken = TAKEN.matcher(status);
    if (!limit.find() || !taken.find()) {
      return Optional.empty();
    }
    long left = Long.parseLong(limit.group(1)) - 1024 * Long.parseLong(taken.group(1));
    return left >= NEEDED
        ? Optional.empty()
        : Optional.of(
            ("ulimit -v %d leaves %d MiB of addresses beside what Java has reserved, and libtorch"
                    + " needs about 1024: ulimit -v unlimited lifts the limit")
                .formatted(Long.parseLong(limit.group(1)) / 1024, Math.max(0, left >> 20)));
  }
}
