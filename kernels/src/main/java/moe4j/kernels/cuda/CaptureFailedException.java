package moe4j.kernels.cuda;

/**
 * Work could not be captured as a CUDA graph. The exception's cause is what failed under capture.
 */
public final class CaptureFailedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  CaptureFailedException(String message) {
    super(message);
  }

  /** libtorch's messages carry a C++ stack below their first line. */
  CaptureFailedException(Throwable cause) {
    super("Capturing a CUDA graph failed: " + firstLine(cause), cause);
  }

  private static String firstLine(Throwable cause) {
    String message = cause.getMessage() == null ? "" : cause.getMessage().strip();
    return message.isEmpty() ? cause.toString() : message.lines().findFirst().orElseThrow();
  }
}
