package moe4j.tests;

import static org.testng.Assert.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import moe4j.cli.Main;

/** Runs moe4j's commands as its launcher does: in this process, or in one of their own. */
final class Cli {
  private Cli() {}

  /** What a command came to; {@code out} has the log too. */
  record Result(int status, String out, String err) {
    /** That it ended well. */
    Result ok() {
      assertEquals(status, 0, out + err);
      return this;
    }
  }

  /** Runs a command in this process. */
  static Result run(List<String> arguments) {
    return captured((out, err) -> Main.run(arguments.toArray(new String[0]), out, err));
  }

  /** Runs without a word on the console, and passes on what is thrown. */
  static Result quietly(Callable<?> body) {
    return captured(
        (out, err) -> {
          body.call();
          return 0;
        });
  }

  private interface Body {
    int run(PrintStream out, PrintStream err) throws Exception;
  }

  private static Result captured(Body body) {
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
    ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
    PrintStream newOut = new PrintStream(outBytes, true, StandardCharsets.UTF_8);
    PrintStream newErr = new PrintStream(errBytes, true, StandardCharsets.UTF_8);
    System.setOut(newOut);
    System.setErr(newErr);
    try {
      int status = body.run(newOut, newErr);
      return new Result(
          status,
          outBytes.toString(StandardCharsets.UTF_8),
          errBytes.toString(StandardCharsets.UTF_8));
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  /** As {@link #run(List)}: the words of {@code command}, then {@code more} as they are. */
  static Result run(String command, Object... more) {
    return run(arguments(command, more));
  }

  /** Words split at spaces, then others as they are. */
  static List<String> arguments(String words, Object... more) {
    List<String> arguments = new ArrayList<>(Arrays.asList(words.split(" ")));
    Stream.of(more).map(String::valueOf).forEach(arguments::add);
    return arguments;
  }

  /** A list and more words behind it: of a flag that stands twice, the last counts. */
  static List<String> with(List<String> arguments, String words, Object... more) {
    List<String> all = new ArrayList<>(arguments);
    all.addAll(arguments(words, more));
    return all;
  }

  /**
   * Starts a command in a process of its own, with standard output and error in one file. It heeds
   * an interrupt, though this process may have been started to ignore it, as a shell script's
   * background is.
   */
  static Process start(List<String> arguments, Path log) throws IOException {
    return start(heeding("INT,HUP"), line(arguments), log);
  }

  /** The same behind the words of a program that becomes it. */
  static Process start(List<String> before, List<String> line, Path log) throws IOException {
    List<String> all = new ArrayList<>(before);
    all.addAll(line);
    return new ProcessBuilder(all).redirectErrorStream(true).redirectOutput(log.toFile()).start();
  }

  /** Words before a program that has it heed signals, where the system can. */
  static List<String> heeding(String signals) {
    return ENV ? List.of("env", "--default-signal=" + signals) : List.of();
  }

  /** Whether {@code env} can say which signals a program heeds: GNU's can. */
  private static final boolean ENV = env();

  private static boolean env() {
    try {
      return new ProcessBuilder("env", "--default-signal=INT", "true")
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start()
              .waitFor()
          == 0;
    } catch (IOException e) {
      return false;
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Sends a signal, of which Java knows SIGTERM alone, to a process, or a group as {@code -ID}. */
  static void signal(String name, String process) throws IOException, InterruptedException {
    int status =
        new ProcessBuilder("sh", "-c", "kill -s \"$0\" -- \"$1\"", name, process).start().waitFor();
    assertEquals(status, 0, "kill -s " + name + " " + process);
  }

  /** The command line of a command in a process of its own. */
  static List<String> line(List<String> arguments) {
    List<String> line = new ArrayList<>();
    line.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    // A heap that is there from the start: what the process grows by is native memory.
    line.addAll(List.of("-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC"));
    line.add("-XX:TieredStopAtLevel=1");
    line.addAll(List.of("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0"));
    line.addAll(List.of("-Dorg.bytedeco.javacpp.maxBytes=0"));
    line.addAll(
        List.of(
            "-cp",
            System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))));
    line.add(Main.class.getName());
    line.addAll(arguments);
    return line;
  }
}
