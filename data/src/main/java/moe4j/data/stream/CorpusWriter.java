package moe4j.data.stream;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import moe4j.data.Part;
import moe4j.data.PartFile;
import moe4j.data.PartFiles;
import moe4j.data.Reasons;

/**
 * Cuts a stream of bytes into {@code train.bytes}, {@code valid.bytes} and {@code test.bytes} of a
 * directory, and describes them in {@code corpus.json}. Nothing appears under these names before
 * {@link #finish}, and nothing remains without it, be it a directory that was not there before.
 */
final class CorpusWriter implements AutoCloseable {
  /** A file to be; {@code disk} is what is written to, {@code part} below it. */
  private record Output(PartFile part, Path path, WritableByteChannel disk) {}

  /** The temporary names of {@link #open}. */
  private static final Pattern PART =
      Pattern.compile("((train|valid|test)\\.bytes|corpus\\.json)\\.[0-9]+\\.part");

  private final Path directory;
  private final SplitBytes split;
  private final UnaryOperator<WritableByteChannel> disk;
  private final Consumer<String> notes;
  private final Deque<Path> madeDirectories = new ArrayDeque<>();
  private final Map<Path, Output> outputs = new LinkedHashMap<>();
  private final List<Path> moved = new ArrayList<>();
  private final ByteCounts counts = new ByteCounts();
  private final MessageDigest md5 = Digests.md5();
  private long bytes;
  private boolean finished;

  private CorpusWriter(
      Path directory,
      SplitBytes split,
      UnaryOperator<WritableByteChannel> disk,
      Consumer<String> notes) {
    this.directory = directory;
    this.split = split;
    this.disk = disk;
    this.notes = notes;
  }

  /**
   * Makes the directory and begins the files.
   *
   * @param disk writes the files; a test gives a disk that runs full
   * @param notes takes a sentence for each file that a killed run has left there
   * @throws IOException if that cannot be: one sentence naming the file
   */
  static CorpusWriter begin(
      Path directory,
      SplitBytes split,
      UnaryOperator<WritableByteChannel> disk,
      Consumer<String> notes)
      throws IOException {
    CorpusWriter writer = new CorpusWriter(directory, split, disk, notes);
    try {
      writer.makeDirectory();
      PartFile.sweep(directory, name -> PART.matcher(name).matches(), notes);
      for (Part part : Part.values()) {
        writer.open(CorpusFiles.file(directory, part));
      }
      return writer;
    } catch (IOException e) {
      writer.close();
      throw e;
    }
  }

  private void makeDirectory() throws IOException {
    Deque<Path> missing = new ArrayDeque<>();
    Path at = directory.toAbsolutePath();
    for (; at != null && !Files.exists(at); at = at.getParent()) {
      missing.push(at);
    }
    try {
      for (Path path : missing) {
        Files.createDirectory(path);
        madeDirectories.push(path);
      }
      // Says so where a file is in the way.
      Files.createDirectories(directory);
    } catch (IOException e) {
      throw unwritable(directory, e);
    }
  }

  private Output open(Path path) throws IOException {
    // Several processes may be told to make the same directory, each under names of its own.
    Path part =
        path.resolveSibling(
            "%s.%d.part".formatted(path.getFileName(), ProcessHandle.current().pid()));
    try {
      PartFile file = PartFile.open(part, notes);
      Output output = new Output(file, path, disk.apply(file.channel()));
      outputs.put(path, output);
      return output;
    } catch (IOException e) {
      throw unwritable(path, e);
    }
  }

  /**
   * Takes the next bytes. Those after the three parts are not written, but belong to {@link #bytes}
   * and {@link #md5}.
   *
   * @throws IOException if they cannot be written: one sentence naming the file
   */
  void write(byte[] from, int length) throws IOException {
    md5.update(from, 0, length);
    int done = 0;
    long end = 0;
    for (Part part : Part.values()) {
      end += split.of(part);
      int here = (int) Math.max(0, Math.min(length - done, end - bytes));
      write(outputs.get(CorpusFiles.file(directory, part)), ByteBuffer.wrap(from, done, here));
      counts.add(from, done, done + here);
      done += here;
      bytes += here;
    }
    bytes += length - done;
  }

  private static void write(Output output, ByteBuffer bytes) throws IOException {
    try {
      while (bytes.hasRemaining()) {
        output.disk().write(bytes);
      }
    } catch (IOException e) {
      throw unwritable(output.path(), e);
    }
  }

  /** Bytes taken so far. */
  long bytes() {
    return bytes;
  }

  /** The MD5 of all bytes taken: to be asked for once, at their end. */
  String md5() {
    return Digests.hex(md5);
  }

  /** The bytes of the three parts so far. */
  ByteCounts counts() {
    return counts;
  }

  /**
   * Writes the manifest, and gives all files their names, the manifest last.
   *
   * @throws IOException if that fails: one sentence naming the file; nothing remains then
   */
  void finish(CorpusManifest manifest) throws IOException {
    Path description = directory.resolve(CorpusManifest.FILE_NAME);
    write(open(description), ByteBuffer.wrap(manifest.json()));
    for (Output output : outputs.values()) {
      try {
        output.part().channel().force(true);
      } catch (IOException e) {
        throw unwritable(output.path(), e);
      }
    }
    try {
      // A manifest that is to be replaced would describe the new parts wrongly.
      Files.deleteIfExists(description);
    } catch (IOException e) {
      throw unwritable(description, e);
    }
    // Until all have their names, what ends the process takes those away again that have theirs.
    for (Output output : outputs.values()) {
      PartFiles.begin(output.path());
      try {
        output.part().moveTo(output.path());
      } catch (IOException e) {
        PartFiles.named(output.path());
        throw unwritable(output.path(), e);
      }
      moved.add(output.path());
    }
    moved.forEach(PartFiles::named);
    finished = true;
  }

  /** Deletes all that was written unless {@link #finish} has been reached. */
  @Override
  public void close() throws IOException {
    if (finished) {
      return;
    }
    for (Output output : outputs.values()) {
      output.part().close();
    }
    for (Path path : moved) {
      PartFiles.delete(path);
    }
    for (Path made : madeDirectories) {
      try {
        Files.deleteIfExists(made);
      } catch (DirectoryNotEmptyException e) {
        // Somebody else has put something there meanwhile.
        return;
      }
    }
  }

  private static IOException unwritable(Path path, IOException e) {
    return new IOException("%s cannot be written: %s".formatted(path, Reasons.of(e)), e);
  }
}
