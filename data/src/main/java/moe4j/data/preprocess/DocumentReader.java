package moe4j.data.preprocess;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import moe4j.data.GzipInput;
import moe4j.data.Reasons;
import moe4j.tokenizer.TextFiles;

/** Reads files one document after another. */
final class DocumentReader implements Closeable {
  /** No document may be longer, so that its text and tokens fit into arrays. */
  private static final int MAX_BYTES = 1 << 30;

  private final Iterator<Path> files;
  private final TextDocuments textDocuments;

  private Path file;
  private InputStream in;
  private final byte[] buffer = new byte[1 << 16];
  private int position;
  private int limit;
  private long line;

  DocumentReader(List<Path> files, TextDocuments textDocuments) {
    this.files = files.iterator();
    this.textDocuments = textDocuments;
  }

  /** The next document, or null at the end of the last file. */
  RawDocument next() throws IOException {
    while (in != null || files.hasNext()) {
      try {
        if (in == null) {
          file = files.next();
          in = InputFiles.open(file);
          position = 0;
          limit = 0;
          line = 0;
        }
        RawDocument document = nextOfFile();
        if (document != null) {
          return document;
        }
        close();
      } catch (GzipInput.DamagedException e) {
        throw new IOException(
            "%s is cut off or no gzip file: %s".formatted(file, e.getMessage()), e);
      } catch (DocumentTooLong | TextFiles.ForeignTextException e) {
        throw e;
      } catch (IOException e) {
        throw new IOException("%s cannot be read: %s".formatted(file, Reasons.of(e)), e);
      }
    }
    return null;
  }

  private RawDocument nextOfFile() throws IOException {
    if (InputFiles.isJson(file)) {
      for (byte[] bytes = nextLine(); bytes != null; bytes = nextLine()) {
        if (!isBlank(bytes)) {
          return new RawDocument(file, line, true, bytes);
        }
      }
      return null;
    }
    return textDocuments == TextDocuments.FILE ? wholeFile() : paragraph();
  }

  private RawDocument wholeFile() throws IOException {
    byte[] bytes = in.readNBytes(MAX_BYTES);
    if (in.read() >= 0) {
      throw new DocumentTooLong("%s is a document of more than 1 GiB".formatted(file));
    }
    close();
    return new RawDocument(file, 0, false, bytes);
  }

  private RawDocument paragraph() throws IOException {
    ByteArrayOutputStream lines = new ByteArrayOutputStream();
    long first = 0;
    for (byte[] bytes = nextLine(); bytes != null; bytes = nextLine()) {
      if (!isBlank(bytes)) {
        first = first == 0 ? line : first;
        append(lines, bytes, 0, bytes.length, first);
      } else if (first > 0) {
        break;
      }
    }
    return first == 0 ? null : new RawDocument(file, first, false, lines.toByteArray());
  }

  /** The next line with its end, or null at the end of the file. */
  private byte[] nextLine() throws IOException {
    ByteArrayOutputStream bytes = null;
    for (; ; ) {
      if (position == limit) {
        limit = Math.max(0, in.read(buffer));
        position = 0;
        if (limit == 0) {
          return bytes == null ? null : bytes.toByteArray();
        }
      }
      if (bytes == null) {
        bytes = new ByteArrayOutputStream(256);
        line++;
      }
      int end = position;
      while (end < limit && buffer[end] != '\n') {
        end++;
      }
      boolean complete = end < limit;
      end += complete ? 1 : 0;
      append(bytes, buffer, position, end - position, line);
      position = end;
      if (complete) {
        return bytes.toByteArray();
      }
    }
  }

  private void append(ByteArrayOutputStream to, byte[] bytes, int from, int length, long firstLine)
      throws DocumentTooLong {
    if (length > MAX_BYTES - to.size()) {
      throw new DocumentTooLong(
          "%s line %d begins a document of more than 1 GiB".formatted(file, firstLine));
    }
    to.write(bytes, from, length);
  }

  private static boolean isBlank(byte[] line) {
    for (byte b : line) {
      if (b != ' ' && b != '\t' && b != '\r' && b != '\n') {
        return false;
      }
    }
    return true;
  }

  @Override
  public void close() throws IOException {
    if (in != null) {
      in.close();
      in = null;
    }
  }

  private static final class DocumentTooLong extends IOException {
    DocumentTooLong(String sentence) {
      super(sentence);
    }
  }
}
