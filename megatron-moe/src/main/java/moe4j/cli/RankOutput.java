package moe4j.cli;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Copies what a rank prints, each line whole and with {@code [rank N]} before it, and remembers the
 * line that says why the rank ended. Bytes stay as they are.
 */
final class RankOutput {
  /** How the one sentence begins that a command of moe4j fails with. */
  private static final String OURS = "moe4j ";

  /** How the line begins that Gloo prints for each group of each rank. */
  private static final String GLOO = "[Gloo] Rank ";

  /** A longer line is cut, so that a rank that never ends its line does not fill the memory. */
  private static final int LONGEST_LINE = 1 << 20;

  private final byte[] prefix;
  private final InputStream in;
  private final PrintStream out;
  private final Thread thread;
  private final ByteArrayOutputStream line = new ByteArrayOutputStream();
  private volatile String last = "";
  private volatile String lastOfOurs = "";

  private RankOutput(int rank, InputStream in, PrintStream out) {
    this.prefix = "[rank %d] ".formatted(rank).getBytes(StandardCharsets.US_ASCII);
    this.in = in;
    this.out = out;
    // A daemon: where a process that outlives its rank holds the stream, nothing waits for it.
    this.thread = new Thread(this::copy, "output of rank " + rank);
    this.thread.setDaemon(true);
  }

  /** Begins to copy. */
  static RankOutput start(int rank, InputStream in, PrintStream out) {
    RankOutput output = new RankOutput(rank, in, out);
    output.thread.start();
    return output;
  }

  /** Waits until all is copied, where that takes no longer than {@code milliseconds}. */
  void await(long milliseconds) throws InterruptedException {
    thread.join(milliseconds);
  }

  /** The last line that begins with {@code moe4j }, else the last that is not blank, else empty. */
  String lastLine() {
    return lastOfOurs.isEmpty() ? last : lastOfOurs;
  }

  private void copy() {
    byte[] chunk = new byte[8192];
    try {
      for (int n = in.read(chunk); n >= 0; n = in.read(chunk)) {
        for (int i = 0; i < n; i++) {
          if (chunk[i] == '\n') {
            endLine();
          } else {
            line.write(chunk[i]);
            if (line.size() >= LONGEST_LINE) {
              endLine();
            }
          }
        }
      }
    } catch (IOException e) {
      // The rank's end of the pipe is gone: there is no more.
    }
    if (line.size() > 0) {
      endLine();
    }
  }

  private void endLine() {
    byte[] bytes = line.toByteArray();
    line.reset();
    String text = new String(bytes, StandardCharsets.UTF_8).strip();
    if (text.startsWith(GLOO)) {
      return;
    }
    if (text.startsWith(OURS)) {
      lastOfOurs = text;
    } else if (!text.isEmpty()) {
      last = text;
    }
    byte[] whole = new byte[prefix.length + bytes.length + 1];
    System.arraycopy(prefix, 0, whole, 0, prefix.length);
    System.arraycopy(bytes, 0, whole, prefix.length, bytes.length);
    whole[whole.length - 1] = '\n';
    // In one write, which the stream does under its lock: lines of several ranks do not mix.
    out.write(whole, 0, whole.length);
    out.flush();
  }
}
