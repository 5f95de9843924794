package moe4j.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * Some processes with all that they start. What is left of a process that ended before those it
 * started no longer has it for a parent; on Linux it is still known by a variable in its
 * environment that no other process has.
 */
final class ProcessTree {
  private static final Path PROC = Path.of("/proc");
  private static final int POLL_MILLISECONDS = 20;

  private final String mark;
  private final List<Process> roots = new ArrayList<>();
  private final Set<ProcessHandle> descendants = new HashSet<>();

  /**
   * A tree without processes.
   *
   * @param mark {@code NAME=VALUE} in the environment of every process that will belong to it
   */
  ProcessTree(String mark) {
    this.mark = mark;
  }

  void add(Process root) {
    roots.add(root);
  }

  /**
   * Sends a signal to the roots that run. What they started is theirs to end.
   *
   * @param name without {@code SIG}
   */
  void signal(String name) throws InterruptedException {
    remember();
    List<ProcessHandle> running =
        roots.stream().map(Process::toHandle).filter(ProcessHandle::isAlive).toList();
    if (name.equals("TERM")) {
      // Not Process.destroy(), which would also close our ends of the pipes.
      running.forEach(ProcessHandle::destroy);
      return;
    }
    List<String> line = new ArrayList<>(List.of("sh", "-c", "kill -s \"$0\" \"$@\"", name));
    running.forEach(process -> line.add(Long.toString(process.pid())));
    try {
      new ProcessBuilder(line)
          .redirectErrorStream(true)
          .redirectOutput(ProcessBuilder.Redirect.DISCARD)
          .start()
          .waitFor();
    } catch (IOException e) {
      // No shell: the signal that Java can send ends them, too.
      running.forEach(ProcessHandle::destroy);
    }
  }

  /** Kills whatever runs. */
  void kill() {
    remember();
    running().forEach(ProcessHandle::destroyForcibly);
  }

  /**
   * Ends what the roots left behind: asks for it, and kills what still runs after {@code patience},
   * in nanoseconds.
   */
  void sweep(long patience) throws InterruptedException {
    Set<ProcessHandle> asked = new HashSet<>();
    long begin = System.nanoTime();
    long killing = TimeUnit.SECONDS.toNanos(1);
    for (Set<ProcessHandle> left = running(); !left.isEmpty(); left = running()) {
      long waited = System.nanoTime() - begin;
      if (waited > patience + killing) {
        return; // Not even the kernel ends them.
      } else if (waited > patience) {
        left.forEach(ProcessHandle::destroyForcibly);
      } else {
        left.stream().filter(asked::add).forEach(ProcessHandle::destroy);
      }
      Thread.sleep(POLL_MILLISECONDS);
    }
  }

  private void remember() {
    roots.forEach(root -> root.descendants().forEach(descendants::add));
  }

  private Set<ProcessHandle> running() {
    Set<ProcessHandle> running = new HashSet<>(descendants);
    roots.forEach(root -> running.add(root.toHandle()));
    running.removeIf(process -> !process.isAlive() || isZombie(process));
    if (Files.isDirectory(PROC)) {
      ProcessHandle.allProcesses().filter(this::isMarked).forEach(running::add);
    }
    return running;
  }

  /** Whether it has ended, and only its new parent has not asked for its status yet. */
  private static boolean isZombie(ProcessHandle process) {
    try {
      // "PID (NAME) STATE ...", where the name may hold brackets and spaces.
      Path file = PROC.resolve(Long.toString(process.pid())).resolve("stat");
      String stat = Files.readString(file, StandardCharsets.ISO_8859_1);
      return stat.startsWith("Z", stat.lastIndexOf(')') + 2);
    } catch (IOException e) {
      return false;
    }
  }

  private boolean isMarked(ProcessHandle process) {
    try {
      Path environment = PROC.resolve(Long.toString(process.pid())).resolve("environ");
      // One byte a character: what is compared is ASCII.
      String text = Files.readString(environment, StandardCharsets.ISO_8859_1);
      return Stream.of(text.split("\0")).anyMatch(mark::equals);
    } catch (IOException e) {
      return false; // Another user's, or one that has just ended.
    }
  }
}
