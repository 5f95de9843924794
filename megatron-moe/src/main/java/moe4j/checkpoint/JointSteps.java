package moe4j.checkpoint;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Steps that ranks take together: each succeeds on all of them or fails on all of them with the
 * same sentence, so that none waits for one that has given up.
 *
 * <p>A process by itself has no other rank to tell: what its step throws is thrown as it is.
 */
final class JointSteps {
  static final byte[] NOTHING = {};

  /** What a rank's message begins with; its answer or the reason follows. */
  private static final byte DONE = '+';

  private static final byte FAILED = '-';

  private final Ranks ranks;

  JointSteps(Ranks ranks) {
    this.ranks = ranks;
  }

  /** A rank's part, and what the others are to know of it. */
  @FunctionalInterface
  interface Step {
    byte[] run() throws IOException;
  }

  /** A rank cannot be reached any more, so that it is not known what the others did. */
  static final class LostRanksException extends IOException {
    private static final long serialVersionUID = 1;

    LostRanksException(Throwable cause) {
      super(reason(cause), cause);
    }
  }

  boolean isFirst() {
    return ranks.rank() == 0;
  }

  int rank() {
    return ranks.rank();
  }

  int size() {
    return ranks.size();
  }

  /**
   * Every rank does its part.
   *
   * @return every rank's answer
   * @throws IOException where a rank's part failed: its number and its reason
   */
  List<byte[]> all(Step step) throws IOException {
    return together(step, true);
  }

  /**
   * Rank 0 does it for all.
   *
   * @return rank 0's answer, on every rank
   * @throws IOException where it failed, with its reason alone: rank 0 speaks for all
   */
  byte[] first(Step step) throws IOException {
    return together(isFirst() ? step : () -> NOTHING, false).get(0);
  }

  private List<byte[]> together(Step step, boolean named) throws IOException {
    if (ranks.size() == 1) {
      return List.of(step.run());
    }
    byte[] own;
    Throwable failure = null;
    try {
      own = message(DONE, step.run());
    } catch (Throwable e) {
      // Errors too: whatever it was, the others wait to hear of it.
      failure = e;
      own = message(FAILED, reason(e).getBytes(StandardCharsets.UTF_8));
    }
    List<byte[]> messages;
    try {
      messages = ranks.exchange(own);
    } catch (Throwable e) {
      LostRanksException lost = new LostRanksException(e);
      if (failure != null) {
        lost.addSuppressed(failure);
      }
      throw lost;
    }
    List<byte[]> answers = new ArrayList<>();
    for (int rank = 0; rank < messages.size(); rank++) {
      byte[] message = messages.get(rank);
      if (message[0] == FAILED) {
        String reason = new String(message, 1, message.length - 1, StandardCharsets.UTF_8);
        throw new IOException(named ? "rank " + rank + ": " + reason : reason, failure);
      }
      answers.add(Arrays.copyOfRange(message, 1, message.length));
    }
    return answers;
  }

  private static byte[] message(byte kind, byte[] content) {
    byte[] message = new byte[1 + content.length];
    message[0] = kind;
    System.arraycopy(content, 0, message, 1, content.length);
    return message;
  }

  /** Why it failed, in a line: native libraries put stack traces into their messages. */
  private static String reason(Throwable failure) {
    String reason;
    if (failure instanceof IOException e) {
      reason = Disk.reason(e);
    } else if (failure instanceof RuntimeException && failure.getMessage() != null) {
      reason = failure.getMessage();
    } else {
      reason = failure.toString();
    }
    return reason.lines().findFirst().orElse(failure.getClass().getSimpleName());
  }
}
