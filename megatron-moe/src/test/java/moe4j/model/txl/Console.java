package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import moe4j.cli.Main;

/** What is said while something runs, the log among it. */
public record Console(int status, String out, String err) {

  /** A command as the launcher starts it: words split at spaces, then others as they are. */
  public static Console command(String words, Object... more) {
    List<String> line = new ArrayList<>(Arrays.asList(words.split(" ")));
    Arrays.stream(more).map(String::valueOf).forEach(line::add);
    return of((out, err) -> Main.run(line.toArray(new String[0]), out, err));
  }

  /** Passes on what is returned or thrown, and says nothing. */
  static <T> T quietly(Callable<T> body) {
    List<T> result = new ArrayList<>();
    of(
        (out, err) -> {
          result.add(body.call());
          return 0;
        });
    return result.get(0);
  }

  private interface Body {
    int run(PrintStream out, PrintStream err) throws Exception;
  }

  private static Console of(Body body) {
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
      return new Console(
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

  /** That it ended well. */
  public Console ok() {
    assertEquals(status, 0, out + err);
    return this;
  }

  /** The one sentence with which a command was refused. */
  public String refusal(int expected) {
    assertEquals(status, expected, out + err);
    assertEquals(err.strip().lines().count(), 1, err);
    assertFalse(err.contains("Exception"), err);
    return err.strip();
  }
}
