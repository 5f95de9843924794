package moe4j.data;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.ZipException;
import org.apache.commons.compress.compressors.gzip.GzipCompressorInputStream;

/**
 * The content of a gzip file, all of it or an exception: its members one after the other, and after
 * the last one nothing but zeros, as {@code gzip -d} reads it. {@link
 * java.util.zip.GZIPInputStream} takes whatever does not begin a member for the end, and drops it
 * without a word.
 */
public final class GzipInput extends InputStream {
  private static final int BUFFER = 1 << 16;

  /** How a member begins. */
  private static final int MAGIC = 0x1f;

  private final Positioned packed;
  private InputStream member;
  private int members;
  private long begin;

  /** The file has ended soundly. */
  private boolean ended;

  /**
   * @throws DamagedException if the stream does not begin as gzip does
   */
  public GzipInput(InputStream packed) throws IOException {
    this.packed = new Positioned(new BufferedInputStream(packed, BUFFER));
    nextMember();
  }

  /** A sentence's end that says what is wrong and at which byte; the subject is the file. */
  public static final class DamagedException extends ZipException {
    private DamagedException(String what, IOException cause) {
      super(what);
      initCause(cause);
    }
  }

  private void nextMember() throws IOException {
    begin = packed.position;
    members++;
    try {
      member = new GzipCompressorInputStream(packed, false);
    } catch (IOException e) {
      throw damaged(e);
    }
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
  }

  @Override
  public int read(byte[] bytes, int from, int length) throws IOException {
    if (length == 0) {
      return 0;
    }
    while (!ended) {
      int read;
      try {
        read = member.read(bytes, from, length);
      } catch (IOException e) {
        throw damaged(e);
      }
      if (read >= 0) {
        return read;
      }
      ended = !anotherMember();
      if (!ended) {
        nextMember();
      }
    }
    return -1;
  }

  /** Looks after a member's end for another member, or for zeros up to the end of the file. */
  private boolean anotherMember() throws IOException {
    long end = packed.position;
    packed.mark(1);
    int next = packed.read();
    if (next == MAGIC) {
      packed.reset();
      return true;
    }
    while (next == 0) {
      next = packed.read();
    }
    if (next >= 0) {
      throw new DamagedException(
          "its member %d ends at byte %d, and byte %d after it does not begin another"
              .formatted(members, end, packed.position - 1),
          null);
    }
    return false;
  }

  private IOException damaged(IOException e) {
    if (packed.failed) {
      return e;
    }
    if (e instanceof EOFException || packed.ended) {
      return new DamagedException(
          "it ends at byte %d, within its member %d".formatted(packed.position, members), e);
    }
    return new DamagedException(
        "its member %d, which begins at byte %d, is damaged before byte %d: %s"
            .formatted(members, begin, packed.position, e.getMessage()),
        e);
  }

  @Override
  public void close() throws IOException {
    if (member != null) {
      // Ends the native inflater, and closes the file.
      member.close();
    }
    packed.close();
  }

  /** Knows how many bytes were taken, and whether it was the file that failed. */
  private static final class Positioned extends FilterInputStream {
    private long position;
    private long marked;
    private boolean failed;
    private boolean ended;

    Positioned(BufferedInputStream in) {
      super(in);
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] bytes, int from, int length) throws IOException {
      try {
        int read = in.read(bytes, from, length);
        ended |= read < 0;
        position += Math.max(0, read);
        return read;
      } catch (IOException e) {
        failed = true;
        throw e;
      }
    }

    @Override
    public long skip(long bytes) throws IOException {
      long skipped = in.skip(bytes);
      position += skipped;
      return skipped;
    }

    @Override
    public synchronized void mark(int limit) {
      in.mark(limit);
      marked = position;
    }

    @Override
    public synchronized void reset() throws IOException {
      in.reset();
      position = marked;
    }
  }
}
