package moe4j.checkpoint;

import java.io.IOException;
import java.util.List;

/**
 * The processes that save or load a checkpoint together. All they need of each other is one
 * operation: barrier, broadcast and agreement are made of it.
 */
public interface Ranks {
  /** This process's number, from 0. */
  int rank();

  /** How many processes there are. */
  int size();

  /**
   * Gives every rank the bytes of every rank. All ranks call it, the same number of times and in
   * the same order; it returns when all have.
   *
   * @param own what this rank tells the others; lengths may differ between ranks and be 0
   * @return every rank's bytes, in the ranks' order
   * @throws IOException where a rank is gone; what the ranks had begun together is then given up
   */
  List<byte[]> exchange(byte[] own) throws IOException;

  /** One process by itself. */
  static Ranks alone() {
    return new Ranks() {
      @Override
      public int rank() {
        return 0;
      }

      @Override
      public int size() {
        return 1;
      }

      @Override
      public List<byte[]> exchange(byte[] own) {
        return List.of(own);
      }
    };
  }
}
