package moe4j.checkpoint;

import java.io.IOException;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/**
 * A checkpoint in the making: its files are written into a directory beside, which {@link #commit}
 * renames. Several ranks write into the same one; one of them creates it, and commits or discards
 * it.
 */
final class CheckpointWriter {
  private final Path target;
  private final Path directory;
  private final UnaryOperator<WritableByteChannel> wrapper;
  private Manifest manifest;

  /** Touches nothing yet. */
  CheckpointWriter(Path target, UnaryOperator<WritableByteChannel> wrapper) {
    this.target = target;
    this.directory = CheckpointFolder.temporary(target);
    this.wrapper = wrapper;
  }

  /** Creates the directory beside. */
  void create() throws IOException {
    Files.createDirectory(directory);
  }

  /** Finds the directory that another rank created. */
  void join() throws IOException {
    if (!Files.isDirectory(directory)) {
      throw new IOException(
          "there is no "
              + directory
              + ", which rank 0 has just made: checkpoints need a file system that all ranks share");
    }
  }

  /** Writes one of a section's {@code count} files. */
  WrittenFile write(Section section, int index, int count, List<TensorSource> tensors)
      throws IOException {
    // Wide elements first: each tensor then starts at a multiple of its element's size, which
    // those who map the file want.
    List<TensorSource> ordered =
        tensors.stream()
            .sorted(Comparator.comparing((TensorSource t) -> t.dtype().bytes()).reversed())
            .toList();
    String name = section.fileName(index, count);
    try (SafeTensorsWriter writer =
        new SafeTensorsWriter(
            directory.resolve(name),
            ordered.stream().map(TensorSource::stored).toList(),
            // Loaders of the wider world look for this word: the bytes are as PyTorch has them.
            Map.of("format", "pt"),
            wrapper)) {
      for (TensorSource tensor : ordered) {
        writer.write(tensor.stored().name(), tensor.content());
      }
      writer.finish();
      return new WrittenFile(
          new Manifest.FileEntry(name, section, writer.bytes(), writer.checksum()),
          ordered.stream().map(WrittenFile.Part::of).toList());
    }
  }

  /** Takes the manifest of all files, by whomever they were written. */
  void prepare(Manifest ofAll) {
    this.manifest = ofAll;
  }

  /** Writes the manifest and renames. A checkpoint already there is moved out of the way. */
  void commit() throws IOException {
    for (Manifest.FileEntry file : manifest.files()) {
      // Those that others wrote too: each machine may have had a directory of its own.
      Path path = directory.resolve(file.name());
      long size = Files.size(path);
      if (size != file.bytes()) {
        throw new IOException(
            path + " has " + size + " bytes, not the " + file.bytes() + " written");
      }
    }
    Disk.write(directory.resolve(Manifest.FILE_NAME), manifest.toBytes());
    Disk.force(directory);
    if (Files.exists(target)) {
      Disk.move(target, CheckpointFolder.replaced(target));
    }
    Disk.move(directory, target);
  }

  /** Leaves nothing of what was not committed. */
  void discard() throws IOException {
    Disk.deleteTree(directory);
  }
}
