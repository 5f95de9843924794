package moe4j.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/**
 * A checkpoint in the making: its files are written into a directory beside, which {@link #commit}
 * renames. Closed without that, it leaves nothing.
 */
final class CheckpointWriter implements Closeable {
  private final Path target;
  private final Path directory;
  private final UnaryOperator<WritableByteChannel> wrapper;

  CheckpointWriter(Path target, UnaryOperator<WritableByteChannel> wrapper) throws IOException {
    this.target = target;
    this.directory = CheckpointStore.temporary(target);
    this.wrapper = wrapper;
    Files.createDirectory(directory);
  }

  /** Writes one of a section's {@code count} files. */
  Manifest.Shard write(Section section, int index, int count, List<TensorSource> tensors)
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
      return new Manifest.Shard(
          new Manifest.FileEntry(name, section, writer.bytes(), writer.checksum()), ordered);
    }
  }

  /** Writes the manifest and renames. A checkpoint already there is moved out of the way. */
  void commit(Instant created, CheckpointInfo run, List<Manifest.Shard> shards) throws IOException {
    Manifest manifest = Manifest.of(created, run, shards);
    Disk.write(directory.resolve(Manifest.FILE_NAME), manifest.toBytes());
    Disk.force(directory);
    if (Files.exists(target)) {
      Disk.move(target, CheckpointStore.replaced(target));
    }
    Disk.move(directory, target);
  }

  @Override
  public void close() throws IOException {
    Disk.deleteTree(directory);
  }
}
