package moe4j.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A checkpoint that was found complete and whole, open for reading. Threads may share it.
 *
 * <p>Opening reads each wanted file once from end to end to verify its checksum, before a byte of
 * it is used: so a corrupt checkpoint is known while the one before it can still be taken instead,
 * at the cost of one more pass over the files (which also brings them into the page cache). Ranks
 * that open it together verify a share of the files each, and tell each other.
 *
 * <p>The files that this process verified stay open, and with them readable if the checkpoint is
 * deleted meanwhile; others are opened when something in them is first asked for. A thousand ranks
 * thus do not hold a thousand files open each.
 */
public final class Checkpoint implements Closeable {
  private final Path directory;
  private final Manifest manifest;

  /** The files of the opened sections. */
  private final Map<String, Manifest.FileEntry> entries = new HashMap<>();

  private final Map<String, SafeTensorsReader> files = new HashMap<>();
  private boolean closed;

  private Checkpoint(Path directory, Manifest manifest, Set<Section> sections) {
    this.directory = directory;
    this.manifest = manifest;
    for (Manifest.FileEntry entry : manifest.files()) {
      if (sections.contains(entry.section())) {
        entries.put(entry.name(), entry);
      }
    }
  }

  /**
   * Opens a checkpoint's directory and verifies it, on all ranks together.
   *
   * @param sections the sections to verify and to read
   * @throws IOException where anything is missing, truncated, corrupt or contradicts the manifest:
   *     one sentence that names the file, the same on all ranks
   */
  static Checkpoint open(Path directory, Set<Section> sections, JointSteps agreement)
      throws IOException {
    AtomicReference<Checkpoint> own = new AtomicReference<>();
    try {
      List<byte[]> read =
          agreement.all(
              () -> {
                byte[] text = readText(directory);
                Manifest manifest = Manifest.parse(directory.resolve(Manifest.FILE_NAME), text);
                own.set(new Checkpoint(directory, manifest, sections));
                own.get().verifyShare(agreement.rank(), agreement.size());
                return (new TreeSet<>(sections) + " by a manifest of " + Checksum.of(text))
                    .getBytes(StandardCharsets.UTF_8);
              });
      checkSame(directory, read);
      return own.get();
    } catch (IOException | RuntimeException | Error e) {
      if (own.get() != null) {
        own.get().close();
      }
      throw e;
    }
  }

  /** Ranks that read different manifests would divide different files among themselves. */
  private static void checkSame(Path directory, List<byte[]> read) throws IOException {
    String first = new String(read.get(0), StandardCharsets.UTF_8);
    for (int rank = 1; rank < read.size(); rank++) {
      String other = new String(read.get(rank), StandardCharsets.UTF_8);
      if (!other.equals(first)) {
        throw new IOException(
            String.format(
                "%s is not the same to all ranks: rank 0 opens %s, rank %d %s",
                directory, first, rank, other));
      }
    }
  }

  static Manifest.Head readHead(Path directory) throws IOException {
    return Manifest.parseHead(directory.resolve(Manifest.FILE_NAME), readText(directory));
  }

  /** A checkpoint's run and place, without its tensors. */
  static Manifest.Outline readOutline(Path directory) throws IOException {
    return Manifest.parseOutline(directory.resolve(Manifest.FILE_NAME), readText(directory));
  }

  private static byte[] readText(Path directory) throws IOException {
    Path file = directory.resolve(Manifest.FILE_NAME);
    try (FileChannel channel = Disk.openForReading(file)) {
      long size = channel.size();
      if (size > Manifest.MAX_BYTES) {
        throw new IOException(
            "%s has %d bytes; a manifest has at most %d".formatted(file, size, Manifest.MAX_BYTES));
      }
      ByteBuffer text = ByteBuffer.allocate((int) size);
      while (text.hasRemaining() && channel.read(text) >= 0) {
        // A read may give less than was asked for.
      }
      return Arrays.copyOf(text.array(), text.position());
    }
  }

  /**
   * The files that a rank verifies: each goes, the largest first, to whoever has the fewest bytes.
   * All ranks come to the same division, and none has more than another by more than a file.
   */
  static Set<String> share(Collection<Manifest.FileEntry> files, int rank, int size) {
    record Load(int rank, long bytes) {}
    PriorityQueue<Load> loads =
        new PriorityQueue<>(Comparator.comparingLong(Load::bytes).thenComparingInt(Load::rank));
    for (int each = 0; each < size; each++) {
      loads.add(new Load(each, 0));
    }
    List<Manifest.FileEntry> largestFirst = new ArrayList<>(files);
    largestFirst.sort(
        Comparator.comparingLong(Manifest.FileEntry::bytes)
            .reversed()
            .thenComparing(Manifest.FileEntry::name));
    Set<String> share = new TreeSet<>();
    for (Manifest.FileEntry file : largestFirst) {
      Load least = loads.remove();
      if (least.rank == rank) {
        share.add(file.name());
      }
      loads.add(new Load(least.rank, least.bytes + file.bytes()));
    }
    return share;
  }

  private void verifyShare(int rank, int size) throws IOException {
    Set<String> share = share(entries.values(), rank, size);
    for (String name : share) {
      String checksum = file(name).checksum();
      if (!checksum.equals(entries.get(name).checksum())) {
        throw corrupt(
            name, "its checksum is " + checksum + ", not " + entries.get(name).checksum());
      }
    }
    for (Map.Entry<String, Manifest.TensorEntry> tensor : manifest.tensors().entrySet()) {
      for (Manifest.Piece piece : tensor.getValue().pieces()) {
        if (share.contains(piece.file())) {
          reader(tensor.getKey(), piece);
        }
      }
    }
  }

  /** A file, opened where it is not yet. */
  private SafeTensorsReader file(String name) throws IOException {
    synchronized (files) {
      if (closed) {
        throw new IOException("checkpoint " + directory + " is closed");
      }
      SafeTensorsReader reader = files.get(name);
      if (reader == null) {
        reader = SafeTensorsReader.open(directory.resolve(name));
        if (reader.size() != entries.get(name).bytes()) {
          reader.close();
          throw corrupt(
              name, "it has " + reader.size() + " bytes, not " + entries.get(name).bytes());
        }
        files.put(name, reader);
      }
      return reader;
    }
  }

  /** Files held open. */
  int openFiles() {
    synchronized (files) {
      return files.size();
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
   * @throws IOException where the checkpoint has no tensor of this name
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

  /** The file of a tensor's piece, which holds what the manifest says. */
  private SafeTensorsReader reader(String name, Manifest.Piece piece) throws IOException {
    if (!entries.containsKey(piece.file())) {
      throw new IllegalArgumentException(
          "tensor " + name + " is in " + piece.file() + ", a section that was not opened");
    }
    SafeTensorsReader reader = file(piece.file());
    StoredTensor expected =
        new StoredTensor(piece.key(), entry(name).dtype(), piece.slice().shape());
    if (!expected.equals(reader.tensors().get(piece.key()))) {
      throw corrupt(piece.file(), "it does not hold " + expected + " of " + name);
    }
    return reader;
  }

  @Override
  public void close() throws IOException {
    synchronized (files) {
      closed = true;
      for (SafeTensorsReader reader : files.values()) {
        reader.close();
      }
    }
  }
}
