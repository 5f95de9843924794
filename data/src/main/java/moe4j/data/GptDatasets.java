package moe4j.data;

import java.io.IOException;
import java.util.List;
import java.util.function.Consumer;

/**
 * The three datasets of a run. Each is null where no samples of it are asked for, where no data are
 * named for it, and where the split leaves it nothing (which is logged if its weight is not 0).
 */
public record GptDatasets(SampleDataset train, SampleDataset valid, SampleDataset test) {
  /**
   * Builds them as Megatron's builder does, indices from the cache where they lie there.
   *
   * @param log takes a sentence for each thing done
   * @throws IllegalArgumentException if the data do not suffice, one sentence saying where
   * @throws IOException if a dataset cannot be read
   */
  public static GptDatasets build(DataConfig config, Consumer<String> log) throws IOException {
    DatasetBuilder builder = new DatasetBuilder(config, log);
    return new GptDatasets(
        builder.build(Part.TRAIN), builder.build(Part.VALID), builder.build(Part.TEST));
  }

  /**
   * In which order a part's samples come, without building them: how often each dataset is
   * repeated, and whether the last time is shuffled by itself. Where this is the same for two
   * numbers of samples, one's are the beginning of the other's.
   */
  public static List<String> order(DataConfig config, Part part) throws IOException {
    return new DatasetBuilder(config, sentence -> {}).order(part);
  }

  /** What is in the data, wherever their files lie and whatever they are called. */
  public static String identity(DataConfig config) throws IOException {
    return new DatasetBuilder(config, sentence -> {}).identity();
  }

  /** The dataset of a part, or null. */
  public SampleDataset of(Part part) {
    return switch (part) {
      case TRAIN -> train;
      case VALID -> valid;
      case TEST -> test;
    };
  }
}
