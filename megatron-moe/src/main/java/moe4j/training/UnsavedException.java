package moe4j.training;

import java.io.IOException;

/** A run that a signal stopped could not be saved; the cause says why. */
public final class UnsavedException extends IOException {
  private static final long serialVersionUID = 1;

  private final int status;

  UnsavedException(int status, IOException cause) {
    super(cause.getMessage(), cause);
    this.status = status;
  }

  /** The process's status: the signal's. */
  public int status() {
    return status;
  }
}
