package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * A model and its optimizer that several ranks hold in parts, and the directory they save it in;
 * the ranks are threads.
 */
final class SharedModel {
  private static final Set<Section> ALL = EnumSet.allOf(Section.class);

  final Path root = Samples.directory();
  final List<String> warnings = Collections.synchronizedList(new ArrayList<>());
  final Samples.Filled rows;
  final Samples.Filled columns;
  final Samples.Filled norm;
  final List<Samples.Filled> experts = new ArrayList<>();
  final Samples.Filled moment;
  final Samples.Filled step;

  SharedModel(Random random) throws IOException {
    rows = Samples.filled(random, "rows.weight", Dtype.BF16, List.of(13L, 6L));
    columns = Samples.filled(random, "columns.weight", Dtype.F32, List.of(5L, 12L));
    norm = Samples.filled(random, "norm.weight", Dtype.BF16, List.of(12L));
    for (int i = 0; i < 6; i++) {
      experts.add(Samples.filled(random, "experts." + i, Dtype.BF16, List.of(4L, 3L)));
    }
    moment = Samples.filled(random, "optimizer.moment", Dtype.F32, List.of(7L, 3L, 5L));
    step = Samples.filled(random, "optimizer.step", Dtype.F32, List.of());
  }

  List<Samples.Filled> tensors() {
    List<Samples.Filled> all = new ArrayList<>(List.of(rows, columns, norm, moment, step));
    all.addAll(experts);
    return all;
  }

  /** Rows and columns are split, experts dealt out, what all hold alike is given by rank 0. */
  List<TensorSource> model(int rank, int size) {
    List<TensorSource> sources = new ArrayList<>();
    sources.add(rows.source(band(rows, 0, rank, size)));
    sources.add(columns.source(band(columns, 1, rank, size)));
    if (rank == 0) {
      sources.add(norm.source());
    }
    for (int i = rank; i < experts.size(); i += size) {
      sources.add(experts.get(i).source());
    }
    return sources;
  }

  /** Flat ranges over the even ranks; the others hold nothing. */
  List<TensorSource> optimizer(int rank, int size) {
    List<TensorSource> sources = new ArrayList<>();
    int holders = (size + 1) / 2;
    if (rank % 2 == 0) {
      long volume = 7 * 3 * 5;
      long from = volume * (rank / 2) / holders;
      long to = volume * (rank / 2 + 1) / holders;
      for (Slice box : Slice.ofRange(moment.tensor().shape(), from, to)) {
        sources.add(moment.source(box));
      }
    }
    if (rank == 0) {
      sources.add(step.source());
    }
    return sources;
  }

  static Slice band(Samples.Filled tensor, int dimension, int index, int count) {
    List<Long> offset = new ArrayList<>(Collections.nCopies(tensor.tensor().shape().size(), 0L));
    List<Long> shape = new ArrayList<>(tensor.tensor().shape());
    long length = shape.get(dimension);
    long from = length * index / count;
    offset.set(dimension, from);
    shape.set(dimension, length * (index + 1) / count - from);
    return new Slice(offset, shape);
  }

  Path save(long iteration, Ranks ranks) throws IOException {
    return new CheckpointStore(root, -1, ranks)
        .save(
            Samples.info(iteration),
            model(ranks.rank(), ranks.size()),
            optimizer(ranks.rank(), ranks.size()));
  }

  Path save(long iteration, int size) throws InterruptedException {
    List<Path> directories = ThreadRanks.succeed(size, ranks -> save(iteration, ranks));
    assertEquals(new TreeSet<>(directories).size(), 1);
    return directories.get(0);
  }

  Optional<Checkpoint> latest(Ranks ranks) throws IOException {
    return new CheckpointStore(root, -1, ranks).loadLatest(ALL, warnings::add);
  }

  /** All ranks use this checkpoint, and get all its bytes. */
  void assertLatest(long iteration, int size) throws InterruptedException {
    warnings.clear();
    ThreadRanks.succeed(
        size,
        ranks -> {
          try (Checkpoint checkpoint = latest(ranks).orElseThrow()) {
            assertEquals(checkpoint.info().iteration(), iteration);
            verify(checkpoint, ranks.rank(), ranks.size());
          }
          return null;
        });
  }

  /** All tensors in full, and shares as another layout would want them. */
  void verify(Checkpoint checkpoint, int rank, int size) throws IOException {
    for (Samples.Filled each : tensors()) {
      List<Long> shape = each.tensor().shape();
      assertEquals(checkpoint.tensor(each.tensor().name()), each.tensor());
      read(checkpoint, each, Slice.whole(shape));
      for (int d = 0; d < shape.size(); d++) {
        read(checkpoint, each, band(each, d, rank, size));
      }
    }
  }

  static void read(Checkpoint checkpoint, Samples.Filled tensor, Slice slice) throws IOException {
    byte[] expected = tensor.part(slice);
    ByteBuffer target = ByteBuffer.allocate(expected.length);
    checkpoint.read(tensor.tensor().name(), slice, target);
    assertEquals(target.array(), expected, tensor.tensor().name() + " " + slice);
  }

  static List<String> names(Path directory) throws IOException {
    try (Stream<Path> paths = Files.list(directory)) {
      return paths.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }
}
