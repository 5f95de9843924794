package moe4j.data.stream;

import java.io.IOException;
import java.net.URI;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import moe4j.data.Existing;
import moe4j.data.Part;

/**
 * enwik8, the first 100,000,000 bytes of a dump of the English Wikipedia, with the split that all
 * published bits per character are of: 90, 5 and 5 million bytes, as Transformer-XL's {@code
 * prep_enwik8.py} cuts it. A directory that is made has {@code train.bytes}, {@code valid.bytes},
 * {@code test.bytes} and {@code corpus.json}: all of them or, whatever happens, none.
 */
public final class Enwik8 {
  /**
   * In the order in which they are tried; whichever gives it, the sum tells whether it is right.
   */
  static final List<URI> SOURCES =
      List.of(
          URI.create("https://mattmahoney.net/dc/enwik8.zip"),
          URI.create("http://mattmahoney.net/dc/enwik8.zip"));

  static final Expected EXPECTED =
      new Expected("enwik8", "a1fa5ffddb56f4953e226637dabbb36a", SplitBytes.ENWIK8);

  /** How long to wait for a connection and each of its bytes; how long between two reports. */
  private static final Timing TIMING = new Timing(Duration.ofSeconds(60), Duration.ofSeconds(5));

  /** The corpus that is expected; a test's is smaller. */
  record Expected(String name, String md5, SplitBytes split) {
    long bytes() {
      return split.sum();
    }
  }

  record Timing(Duration patience, Duration betweenReports) {}

  /**
   * A directory that holds enwik8.
   *
   * @param wasThere whether it did already
   * @param distinctBytes different bytes, newlines among them
   * @param upstreamSymbols the size of {@link ByteVocabulary.Kind#UPSTREAM}
   */
  public record Prepared(
      Path directory,
      CorpusManifest manifest,
      boolean wasThere,
      int distinctBytes,
      int upstreamSymbols) {}

  private final Expected expected;
  private final List<URI> sources;
  private final Timing timing;
  private final UnaryOperator<WritableByteChannel> disk;
  private final Consumer<String> log;
  private Moved moved = (done, all) -> {};

  /** Is told how far the reading of the source is. */
  @FunctionalInterface
  public interface Moved {
    /**
     * So many bytes of it are read.
     *
     * @param all how many there are; less than 0 where it is not known
     */
    void to(long done, long all);
  }

  /**
   * @param log takes a line when something begins, and every few seconds of a download
   */
  public Enwik8(Consumer<String> log) {
    this(EXPECTED, SOURCES, TIMING, UnaryOperator.identity(), log);
  }

  Enwik8(
      Expected expected,
      List<URI> sources,
      Timing timing,
      UnaryOperator<WritableByteChannel> disk,
      Consumer<String> log) {
    this.expected = expected;
    this.sources = sources;
    this.timing = timing;
    this.disk = disk;
    this.log = log;
  }

  /** Reports its progress from here on. */
  public Enwik8 telling(Moved who) {
    moved = who;
    return this;
  }

  /** Prepares a directory as {@link #prepare(Path, Path, boolean)} does, and replaces nothing. */
  public Prepared prepare(Path directory, Path file) throws IOException {
    return prepare(directory, file, false);
  }

  /**
   * Makes a directory, or checks one that is there.
   *
   * @param file a copy of enwik8, as zip, gz or plain bytes; null to download it
   * @param overwrite whether what is there is replaced, once the new one is whole
   * @throws IllegalArgumentException if files of a corpus's names are there without a manifest
   * @throws IOException for whatever goes wrong: one sentence naming the file or address; nothing
   *     is left behind then
   */
  public Prepared prepare(Path directory, Path file, boolean overwrite) throws IOException {
    if (!overwrite) {
      if (Files.exists(directory.resolve(CorpusManifest.FILE_NAME))) {
        return check(directory);
      }
      Existing.refuse(
          Stream.of(Part.values()).map(part -> CorpusFiles.file(directory, part)).toList(),
          "--out " + directory,
          "give another directory");
    }
    try (CorpusSource source = open(file);
        CorpusWriter writer = CorpusWriter.begin(directory, expected.split(), disk, log)) {
      log.accept("%s %s".formatted(file == null ? "download" : "read", source.name()));
      copy(source, writer);
      String md5 = writer.md5();
      if (writer.bytes() != expected.bytes() || !md5.equals(expected.md5())) {
        throw new IOException(
            file == null ? badDownload(source, writer, md5) : badFile(source, writer, md5));
      }
      CorpusManifest manifest =
          CorpusManifest.of(expected.name(), source.name(), md5, expected.split());
      writer.finish(manifest);
      return prepared(directory, manifest, false, writer.counts());
    }
  }

  private CorpusSource open(Path file) throws IOException {
    if (file != null) {
      return CorpusSource.of(file);
    }
    for (int i = 0; ; i++) {
      try {
        return CorpusSource.of(sources.get(i), timing.patience());
      } catch (IOException e) {
        if (i == sources.size() - 1) {
          throw new IOException(
              e.getMessage() + "; a copy from elsewhere is taken with --file FILE", e);
        }
        log.accept("%s: %s is tried".formatted(e.getMessage(), sources.get(i + 1)));
      }
    }
  }

  private Prepared check(Path directory) throws IOException {
    CorpusManifest manifest = CorpusManifest.read(directory);
    if (!manifest.md5().equals(expected.md5()) || !manifest.split().equals(expected.split())) {
      throw new IOException(
          "%s holds another corpus, %s of %d bytes with the md5 %s: give another directory, or --overwrite, which keeps it until the new one is whole"
              .formatted(directory, manifest.name(), manifest.split().sum(), manifest.md5()));
    }
    CorpusFiles.Scan scan =
        ByteCorpus.verified(directory, manifest, CorpusFiles.of(directory, manifest));
    return prepared(directory, manifest, true, scan.counts());
  }

  private static Prepared prepared(
      Path directory, CorpusManifest manifest, boolean wasThere, ByteCounts counts) {
    return new Prepared(
        directory, manifest, wasThere, counts.distinct(), ByteVocabulary.upstream(counts).size());
  }

  private void copy(CorpusSource source, CorpusWriter writer) throws IOException {
    byte[] buffer = new byte[1 << 16];
    long next = System.nanoTime() + timing.betweenReports().toNanos();
    for (int length = source.read(buffer); length >= 0; length = source.read(buffer)) {
      writer.write(buffer, length);
      moved.to(source.packedBytes(), source.packedSize());
      if (System.nanoTime() >= next) {
        next = System.nanoTime() + timing.betweenReports().toNanos();
        log.accept(progress(source));
      }
    }
  }

  private static String progress(CorpusSource source) {
    String all =
        source.packedSize() < 0
            ? ""
            : String.format(Locale.ROOT, " of %.1f", source.packedSize() / 1e6);
    return String.format(
        Locale.ROOT, "%s: %.1f%s MB", source.name(), source.packedBytes() / 1e6, all);
  }

  private String badDownload(CorpusSource source, CorpusWriter writer, String md5) {
    return "%s gave %d bytes with the md5 %s, but %s has %d bytes with the md5 %s: nothing is kept"
        .formatted(
            source.name(), writer.bytes(), md5, expected.name(), expected.bytes(), expected.md5());
  }

  private String badFile(CorpusSource source, CorpusWriter writer, String md5) {
    return ("--file %s is not %s: it has %d bytes with the md5 %s, %s has %d bytes with the md5 %s;"
            + " any byte file works with pretrain-txl --data-file FILE --split-bytes"
            + " TRAIN,VALID,TEST")
        .formatted(
            source.name(),
            expected.name(),
            writer.bytes(),
            md5,
            expected.name(),
            expected.bytes(),
            expected.md5());
  }
}
