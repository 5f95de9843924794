package moe4j.console;

import java.io.Console;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.IntSupplier;

/**
 * Where standard output and standard error meet a line of progress. On a terminal both go through
 * here: the line is erased, what is printed takes its place, and the line is drawn again below it.
 * Elsewhere (a file, a pipe) there is no such line, and output goes its way untouched.
 */
public final class Screen {
  private static final String ERASE = "\r\033[K";
  private static final int USUAL_COLUMNS = 80;

  private static volatile Screen current = new Screen(null, () -> 0);

  private final ReentrantLock lock = new ReentrantLock();
  private final PrintStream out;
  private final IntSupplier columns;
  private String line = "";
  private boolean drawn;
  private boolean atLineStart = true;

  /**
   * A screen.
   *
   * @param out the terminal, or null where the output is no terminal
   * @param columns how many it has now; 0 where it does not say
   */
  public Screen(PrintStream out, IntSupplier columns) {
    this.out = out;
    this.columns = columns;
  }

  /** The one that standard output goes through; one without a terminal until another is put up. */
  public static Screen current() {
    return current;
  }

  /** Puts up the process's terminal, if it has one and its user wants to see things move there. */
  public static void putUpTerminal() {
    if (!wanted(System.getenv()) || !onTerminal()) {
      return;
    }
    for (Terminal terminal : ServiceLoader.load(Terminal.class)) {
      if (terminal.columns() > 0) {
        new Screen(System.out, terminal::columns).putUp();
        return;
      }
    }
  }

  /** Whether the environment lets lines be drawn over. */
  static boolean wanted(Map<String, String> environment) {
    String kind = environment.getOrDefault("TERM", "");
    return !kind.isEmpty()
        && !kind.equals("dumb")
        && environment.getOrDefault("NO_COLOR", "").isEmpty()
        && environment.getOrDefault("CI", "").isEmpty();
  }

  @SuppressWarnings("SystemConsoleNull")
  private static boolean onTerminal() {
    Console console = System.console();
    if (console == null) {
      return false;
    }
    try {
      // From JDK 22 on there is a console without a terminal too, and a method that tells.
      return (boolean) Console.class.getMethod("isTerminal").invoke(console);
    } catch (NoSuchMethodException e) {
      return true;
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Until it is closed, a screen is the current one, and standard output goes through it. */
  @FunctionalInterface
  public interface PutUp extends AutoCloseable {
    /** Takes the screen down. */
    @Override
    void close();
  }

  /** Makes it the current one, which standard output and standard error go through. */
  public PutUp putUp() {
    Screen before = current;
    PrintStream outBefore = System.out;
    PrintStream errBefore = System.err;
    current = this;
    if (isTerminal()) {
      System.setOut(above(outBefore));
      System.setErr(above(errBefore));
    }
    return () -> {
      hide();
      System.setOut(outBefore);
      System.setErr(errBefore);
      current = before;
    };
  }

  /** Whether there is a terminal. */
  public boolean isTerminal() {
    return out != null;
  }

  /** The longest line that does not wrap; only of a terminal. */
  public int width() {
    int now = columns.getAsInt();
    // A character in the last column makes some terminals go on in the next line.
    return Math.max(1, (now > 0 ? now : USUAL_COLUMNS) - 1);
  }

  /** Shows a line of progress in place of the one before. */
  public void show(String text) {
    if (!isTerminal()) {
      return;
    }
    lock.lock();
    try {
      line = text.length() > width() ? text.substring(0, width()) : text;
      if (drawn || atLineStart) {
        draw();
      }
    } finally {
      lock.unlock();
    }
  }

  /** Takes the line of progress away. */
  public void hide() {
    if (!isTerminal()) {
      return;
    }
    lock.lock();
    try {
      line = "";
      erase();
    } finally {
      lock.unlock();
    }
  }

  /** Closes the screen at an abrupt end, when another thread may be held while it prints. */
  public void leave() {
    try {
      if (isTerminal() && lock.tryLock(200, TimeUnit.MILLISECONDS)) {
        try {
          hide();
        } finally {
          lock.unlock();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void draw() {
    out.print("\r" + line + "\033[K");
    out.flush();
    drawn = true;
  }

  private void erase() {
    if (drawn) {
      out.print(ERASE);
      out.flush();
      drawn = false;
    }
  }

  /** A stream whose text stands above the line of progress. */
  private PrintStream above(PrintStream stream) {
    OutputStream bytes =
        new OutputStream() {
          @Override
          public void write(int b) {
            write(new byte[] {(byte) b}, 0, 1);
          }

          @Override
          public void write(byte[] from, int offset, int length) {
            if (length == 0) {
              return;
            }
            lock.lock();
            try {
              erase();
              stream.write(from, offset, length);
              stream.flush();
              // In the midst of a line nothing may be drawn over it.
              atLineStart = from[offset + length - 1] == '\n';
              if (atLineStart && !line.isEmpty()) {
                draw();
              }
            } finally {
              lock.unlock();
            }
          }
        };
    return new PrintStream(bytes, true, charset());
  }

  /** The charset of standard output, which Java 17 offers in no other way. */
  private static Charset charset() {
    for (String property : new String[] {"stdout.encoding", "sun.stdout.encoding"}) {
      String name = System.getProperty(property);
      if (name != null && Charset.isSupported(name)) {
        return Charset.forName(name);
      }
    }
    String name = System.getProperty("native.encoding");
    return name != null && Charset.isSupported(name)
        ? Charset.forName(name)
        : StandardCharsets.UTF_8;
  }
}
