package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.OptionalLong;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.data.Inspector;
import moe4j.data.Part;
import moe4j.data.Split;

/** {@code moe4j inspect PREFIX}: what a dataset holds, and how its samples are cut. */
public final class InspectCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(help = "print the document, sample and shuffle index in full") boolean indices,
      @Flag(help = "tokens a sample", needs = "indices") Integer seqLength,
      @Flag(help = "samples wanted at least", otherwise = "one epoch", needs = "indices")
          Long samples,
      @Flag(help = "seed of the shuffles", value = "1234", needs = "indices") long seed,
      @Flag(
              help = "shares of the three parts, such as 969,30,1",
              otherwise = "one part has all",
              needs = "indices")
          String split,
      @Flag(
              help = "part of the split",
              value = "train",
              choices = {"train", "valid", "test"},
              needs = "split")
          String part) {

    /** Checks that the indices can be made. */
    public Options {
      if (indices && (seqLength == null || seqLength < 1)) {
        throw new IllegalArgumentException("--indices needs a positive --seq-length");
      }
    }
  }

  @Override
  public String name() {
    return "inspect";
  }

  @Override
  public String summary() {
    return "print what a .bin/.idx dataset holds";
  }

  @Override
  public String positional() {
    return "PREFIX";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    if (parsed.positional().size() != 1) {
      throw new IllegalArgumentException(
          "one PREFIX is asked for, %d are given".formatted(parsed.positional().size()));
    }
    Options options = parsed.get(Options.class);
    Path prefix = Path.of(parsed.positional().get(0));
    if (!options.indices()) {
      Inspector.inspect(prefix, System.out);
      return 0;
    }
    Inspector.indices(
        prefix,
        options.seqLength(),
        options.samples() == null ? OptionalLong.empty() : OptionalLong.of(options.samples()),
        options.seed(),
        options.split() == null ? null : Split.parse(options.split()),
        Part.valueOf(options.part().toUpperCase(Locale.ROOT)),
        System.out);
    return 0;
  }
}
