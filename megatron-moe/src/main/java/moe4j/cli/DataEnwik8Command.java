package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.data.stream.Enwik8;
import moe4j.data.stream.SplitBytes;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j data enwik8}: the corpus of Transformer-XL's experiment, downloaded or from a copy,
 * checked and split.
 *
 * <pre>moe4j data enwik8 --out corpora/enwik8</pre>
 */
public final class DataEnwik8Command implements Command {
  private static final Logger LOG = LogManager.getLogger(DataEnwik8Command.class);

  /** Its flags. */
  public record Options(
      @Flag(
              help =
                  "directory to make: train.bytes, valid.bytes, test.bytes and corpus.json; one"
                      + " that is complete is checked and left as it is",
              required = true)
          String out,
      @Flag(
              help = "a copy of enwik8, as zip, gz or plain bytes",
              otherwise = "it is downloaded from mattmahoney.net, 36 MB")
          String file,
      @Flag(help = "replace what is in the directory, once the new one is whole")
          boolean overwrite) {}

  private final Enwik8 enwik8;

  /** Of the real one. */
  public DataEnwik8Command() {
    this(new Enwik8(LOG::info));
  }

  DataEnwik8Command(Enwik8 enwik8) {
    this.enwik8 = enwik8;
  }

  @Override
  public String name() {
    return "data enwik8";
  }

  @Override
  public String summary() {
    return "download enwik8, check it and split it into train, valid and test";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  /** The line of a download, or of a copy that is read. */
  private static final class Reading implements Enwik8.Moved, AutoCloseable {
    private static final long MB = 1_000_000;

    private ProgressLine line;

    @Override
    public void to(long done, long all) {
      if (line == null) {
        line = ProgressLine.of("", new ProgressLine.Count("MB", Math.max(0, all) / MB, "MB", 1));
      }
      line.done(done / MB);
    }

    @Override
    public void close() {
      if (line != null) {
        line.close();
      }
    }
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    Enwik8.Prepared made;
    try (Reading reading = new Reading()) {
      made =
          enwik8
              .telling(reading)
              .prepare(
                  Path.of(options.out()),
                  options.file() == null ? null : Path.of(options.file()),
                  options.overwrite());
    }
    SplitBytes split = made.manifest().split();
    System.out.printf(
        "%s %s %s, checked: %d bytes, md5 %s%n",
        options.out(),
        made.wasThere() ? "held already" : "holds",
        made.manifest().name(),
        split.sum(),
        made.manifest().md5());
    System.out.printf(
        "train %d, valid %d, test %d bytes%n", split.train(), split.valid(), split.test());
    System.out.printf(
        "%d distinct bytes; the vocabulary upstream has %d symbols, bytes has 256%n",
        made.distinctBytes(), made.upstreamSymbols());
    System.out.printf("next: moe4j pretrain-txl --preset enwik8-base --data %s%n", options.out());
    return 0;
  }
}
