package moe4j.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * A checkpoint that was found complete and whole, open for reading. Threads may share it.
 *
 * <p>Opening reads each wanted file once from end to end to verify its checksum, before a byte of
 * it is used: so a corrupt checkpoint is known while the one before it can still be taken instead,
 * at the cost of one more pass over the files (which also brings them into the page cache).
 */
public final class Checkpoint implements Closeable {
  private final Path directory;
  private final Manifest manifest;
  private final Map<String, SafeTensorsReader> files = new HashMap<>();

  private Checkpoint(Path directory, Manifest manifest) {
    this.directory = directory;
    this.manifest = manifest;
  }

  /**
   * Opens a checkpoint's directory and verifies it.
   *
   * @param sections the sections to verify and to read
   * @throws IOException where anything is missing, truncated, corrupt or contradicts the manifest:
   *     one sentence that names the file
   */
  static Checkpoint open(Path directory, Set<Section> sections) throws IOException {
    Checkpoint checkpoint = new Checkpoint(directory, readManifest(directory));
    try {
      checkpoint.openFiles(sections);
      return checkpoint;
    } catch (IOException | RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  static Manifest readManifest(Path directory) throws IOException {
    Path file = directory.resolve(Manifest.FILE_NAME);
    try {
      return Manifest.parse(file, Files.readAllBytes(file));
    } catch (FileSystemException e) {
      throw new IOException("cannot read " + file + ": " + Disk.reason(e), e);
    }
  }

  private void openFiles(Set<Section> sections) throws IOException {
    for (Manifest.FileEntry entry : manifest.files()) {
      if (sections.contains(entry.section())) {
        SafeTensorsReader reader = SafeTensorsReader.open(directory.resolve(entry.name()));
        files.put(entry.name(), reader);
        if (reader.size() != entry.bytes()) {
          throw corrupt(entry.name(), "it has " + reader.size() + " bytes, not " + entry.bytes());
        }
        String checksum = reader.checksum();
        if (!checksum.equals(entry.checksum())) {
          throw corrupt(entry.name(), "its checksum is " + checksum + ", not " + entry.checksum());
        }
      }
    }
    for (Map.Entry<String, Manifest.TensorEntry> tensor : manifest.tensors().entrySet()) {
      for (Manifest.Piece piece : tensor.getValue().pieces()) {
        SafeTensorsReader reader = files.get(piece.file());
        StoredTensor expected =
            new StoredTensor(piece.key(), tensor.getValue().dtype(), piece.slice().shape());
        if (reader != null && !expected.equals(reader.tensors().get(piece.key()))) {
          throw corrupt(piece.file(), "it does not hold " + expected + " of " + tensor.getKey());
        }
      }
    }
  }

  private IOException corrupt(String file, String why) {
    return new IOException(directory.resolve(file) + " is corrupt: " + why);
  }

  /** Its directory. */
  public Path directory() {
    return directory;
  }

  /** All it says of itself. */
  public Manifest manifest() {
    return manifest;
  }

  /** The run's own state. */
  public CheckpointInfo info() {
    return manifest.run();
  }

  /** Whether it has a tensor of this global name, in any section. */
  public boolean contains(String name) {
    return manifest.tensors().containsKey(name);
  }

  /**
   * A tensor's element type and global shape.
   *
   * @throws IOException where it has none of this name
   */
  public StoredTensor tensor(String name) throws IOException {
    Manifest.TensorEntry entry = entry(name);
    return new StoredTensor(name, entry.dtype(), entry.shape());
  }

  /**
   * Reads a slice of a tensor, assembled from whichever files hold parts of it.
   *
   * @param name its global name
   * @param slice which part of the global tensor; more than a buffer holds is read in {@link
   *     Slice#chunks}
   * @param target has exactly the slice's bytes remaining; direct memory is read into without a
   *     copy
   * @throws IOException where there is no such tensor or a file cannot be read
   * @throws IllegalArgumentException where slice, tensor and target do not fit each other
   */
  public void read(String name, Slice slice, ByteBuffer target) throws IOException {
    Manifest.TensorEntry tensor = entry(name);
    if (!slice.isInside(tensor.shape())
        || slice.volume() * tensor.dtype().bytes() != target.remaining()) {
      throw new IllegalArgumentException(
          String.format(
              "tensor %s is %s %s: %s cannot be read into %d bytes",
              name, tensor.dtype(), tensor.shape(), slice, target.remaining()));
    }
    for (Manifest.Piece piece : tensor.pieces()) {
      if (piece.slice().intersect(slice).isPresent()) {
        reader(name, piece).readShared(piece.key(), piece.slice(), slice, target);
      }
    }
    target.position(target.limit());
  }

  /** Reads a slice of any size through a buffer of at most {@code maxBytes}. */
  public void read(String name, Slice slice, int maxBytes, TensorSink sink) throws IOException {
    int width = entry(name).dtype().bytes();
    long maxElements = maxBytes / width;
    long largest = Math.min(maxElements, slice.volume());
    ByteBuffer buffer = ByteBuffer.allocateDirect(Math.toIntExact(largest * width));
    long offset = 0;
    for (Slice chunk : slice.chunks(maxElements)) {
      buffer.clear().limit((int) (chunk.volume() * width));
      read(name, chunk, buffer);
      buffer.flip().order(ByteOrder.LITTLE_ENDIAN);
      int length = buffer.remaining();
      sink.accept(offset, buffer);
      offset += length;
    }
  }

  private Manifest.TensorEntry entry(String name) throws IOException {
    Manifest.TensorEntry entry = manifest.tensors().get(name);
    if (entry == null) {
      throw new IOException("checkpoint " + directory + " holds no tensor " + name);
    }
    return entry;
  }

  private SafeTensorsReader reader(String name, Manifest.Piece piece) {
    SafeTensorsReader reader = files.get(piece.file());
    if (reader == null) {
      throw new IllegalArgumentException(
          "tensor " + name + " is in " + piece.file() + ", a section that was not opened");
    }
    return reader;
  }

  @Override
  public void close() throws IOException {
    for (SafeTensorsReader reader : files.values()) {
      reader.close();
    }
  }
}
