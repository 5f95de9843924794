package moe4j.data.stream;

import java.io.BufferedInputStream;
import java.io.Closeable;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import moe4j.data.GzipInput;
import moe4j.data.Reasons;

/**
 * Bytes from a file or a web server, unpacked: the first file of a zip, what is in a gz, or what
 * comes, as its first bytes tell. Its {@link IOException}s are one sentence that names the source.
 */
final class CorpusSource implements Closeable {
  private static final int BUFFER = 1 << 16;
  private static final int MOST_REDIRECTS = 5;
  private static final Set<Integer> REDIRECTS = Set.of(301, 302, 303, 307, 308);

  private final String name;
  private final boolean remote;
  private final long packedSize;
  private final Counted packed;
  private InputStream unpacked;
  private String form;

  private CorpusSource(String name, boolean remote, long packedSize, InputStream packed) {
    this.name = name;
    this.remote = remote;
    this.packedSize = packedSize;
    this.packed = new Counted(packed);
  }

  /** Opens a file. */
  static CorpusSource of(Path file) throws IOException {
    if (!Files.exists(file)) {
      throw new IOException("--file %s: there is no such file".formatted(file));
    }
    if (!Files.isRegularFile(file)) {
      throw new IOException("--file %s is no regular file".formatted(file));
    }
    CorpusSource source;
    try {
      long size = Files.size(file);
      source = new CorpusSource(file.toString(), false, size, Files.newInputStream(file));
    } catch (IOException e) {
      throw new IOException("--file %s cannot be read: %s".formatted(file, Reasons.of(e)), e);
    }
    return source.unpackedOrClosed();
  }

  /**
   * Asks a server, which may send us elsewhere.
   *
   * @param patience how long to wait for a connection, and for each of its bytes
   */
  static CorpusSource of(URI uri, Duration patience) throws IOException {
    URI at = uri;
    for (int redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      if (!"http".equals(at.getScheme()) && !"https".equals(at.getScheme())) {
        throw new IOException("%s sends us to %s, which is no web address".formatted(uri, at));
      }
      HttpURLConnection connection = (HttpURLConnection) at.toURL().openConnection();
      connection.setInstanceFollowRedirects(false);
      connection.setConnectTimeout((int) patience.toMillis());
      connection.setReadTimeout((int) patience.toMillis());
      connection.setRequestProperty("User-Agent", "moe4j");
      int status;
      try {
        status = connection.getResponseCode();
      } catch (IOException e) {
        throw new IOException("%s cannot be reached: %s".formatted(at, network(e)), e);
      }
      String location = connection.getHeaderField("Location");
      if (status == HttpURLConnection.HTTP_OK) {
        return new CorpusSource(
                at.toString(), true, connection.getContentLengthLong(), connection.getInputStream())
            .unpackedOrClosed();
      }
      connection.disconnect();
      if (!REDIRECTS.contains(status) || location == null) {
        String words = connection.getResponseMessage();
        throw new IOException(
            "%s answers with status %d%s"
                .formatted(at, status, words == null || words.isBlank() ? "" : " " + words));
      }
      URI next;
      try {
        next = at.resolve(location);
      } catch (IllegalArgumentException e) {
        throw new IOException(
            "%s sends us to '%s', which is no address".formatted(at, location), e);
      }
      if ("https".equals(at.getScheme()) && "http".equals(next.getScheme())) {
        throw new IOException("%s sends us to %s, which is not encrypted".formatted(at, next));
      }
      at = next;
    }
    throw new IOException("%s sends us on more than %d times".formatted(uri, MOST_REDIRECTS));
  }

  private static String network(IOException e) {
    return e instanceof UnknownHostException ? "no address is known for its host" : Reasons.of(e);
  }

  private CorpusSource unpackedOrClosed() throws IOException {
    try {
      unpacked = unpack(new BufferedInputStream(packed, BUFFER));
      return this;
    } catch (IOException e) {
      close();
      throw broken(e);
    }
  }

  private InputStream unpack(BufferedInputStream in) throws IOException {
    in.mark(4);
    byte[] magic = in.readNBytes(4);
    in.reset();
    form = "text";
    if (magic.length >= 2 && magic[0] == 0x1f && (magic[1] & 0xff) == 0x8b) {
      form = "gz";
      return new GzipInput(in);
    }
    if (magic.length == 4 && magic[0] == 'P' && magic[1] == 'K') {
      form = "zip";
      ZipInputStream zip = new ZipInputStream(in);
      ZipEntry entry = zip.getNextEntry();
      while (entry != null && entry.isDirectory()) {
        entry = zip.getNextEntry();
      }
      if (entry == null) {
        throw new IOException("there is no file in it");
      }
      return zip;
    }
    return in;
  }

  /** A file's path, or the address that the bytes come from in the end. */
  String name() {
    return name;
  }

  /** Bytes as they lie in the file or come over the network, so far. */
  long packedBytes() {
    return packed.count;
  }

  /** Bytes there are of these, or -1 where the server did not say. */
  long packedSize() {
    return packedSize;
  }

  /**
   * Reads unpacked bytes.
   *
   * @return how many, or -1 at their end
   */
  int read(byte[] bytes) throws IOException {
    try {
      int length = unpacked.read(bytes);
      if (length < 0 && form.equals("text") && packed.count < packedSize) {
        throw new IOException("it ends");
      }
      return length;
    } catch (IOException | IllegalArgumentException e) {
      // The zip reader takes some broken names and sizes for its caller's fault.
      throw broken(e);
    }
  }

  private IOException broken(Exception e) {
    if (remote && (packed.failed || (packed.ended && packed.count < packedSize))) {
      String why = e instanceof SocketTimeoutException ? ", as nothing more came" : "";
      return new IOException(
          "the connection to %s broke after %d%s bytes%s"
              .formatted(name, packed.count, packedSize < 0 ? "" : " of " + packedSize, why),
          e);
    }
    if (packed.failed || form == null || form.equals("text")) {
      return new IOException("%s cannot be read: %s".formatted(name, e.getMessage()), e);
    }
    return new IOException(
        "%s is cut off or no sound %s file: %s"
            .formatted(name, form, e.getMessage() == null ? "it ends too soon" : e.getMessage()),
        e);
  }

  @Override
  public void close() throws IOException {
    packed.close();
  }

  /** Counts what is read, and tells a source that fails or ends from a reader that complains. */
  private static final class Counted extends FilterInputStream {
    private long count;
    private boolean failed;
    private boolean ended;

    Counted(InputStream in) {
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
        count += Math.max(0, read);
        return read;
      } catch (IOException e) {
        failed = true;
        throw e;
      }
    }

    @Override
    public long skip(long bytes) throws IOException {
      return bytes <= 0 ? 0 : Math.max(0, read(new byte[(int) Math.min(bytes, BUFFER)]));
    }

    @Override
    public boolean markSupported() {
      return false;
    }
  }
}
