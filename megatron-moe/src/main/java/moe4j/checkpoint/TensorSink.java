package moe4j.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;

/** Takes a tensor's bytes part by part, in order. */
@FunctionalInterface
public interface TensorSink {
  /**
   * Takes one part.
   *
   * @param offset where it starts in the slice that was asked for, in bytes
   * @param bytes a direct little-endian buffer, valid during the call
   */
  void accept(long offset, ByteBuffer bytes) throws IOException;
}
