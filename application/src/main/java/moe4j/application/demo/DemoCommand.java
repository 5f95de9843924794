package moe4j.application.demo;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.cli.Command;
import moe4j.config.CheckpointConfig;
import moe4j.config.DataFlags;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.model.gpt.GptTask;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.record.RunEnd;
import moe4j.report.CompareReport;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.training.run.SavedRun;
import moe4j.training.step.ComputeDevice;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j demo}: the main job in small. It makes a corpus of Java sources, trains a dense GPT
 * and its twin with experts on it (the same data in the same order, the same seed, the same active
 * FLOPs: two of E experts a token, each of half the dense hidden size) and compares them.
 */
public final class DemoCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(DemoCommand.class);

  /** Where the build puts the {@code -sources} jars, below the project's directory. */
  private static final String JARS = "application/target/corpus";

  /** Its flags. */
  public record Options(
      @Flag(help = "directory for the report, the metrics and the checkpoints", value = "runs/demo")
          String outputDir,
      @Flag(help = "directory of -sources jars to train on", otherwise = "those the build fetched")
          String corpus,
      @Flag(help = "seed of initial weights and data order", value = "1234") int seed,
      @Flag(help = "steps of each model", value = "600") int trainIters,
      @Flag(help = "experts of the model that has them", value = "16") int numExperts,
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(help = "start anew where --output-dir holds another demo, kept in its old-DATE")
          boolean overwrite) {

    /** Checks ranges. */
    public Options {
      if (trainIters < 1 || numExperts < 2) {
        throw new IllegalArgumentException(
            "--train-iters %d, --num-experts %d: at least 1 and at least 2 are asked for"
                .formatted(trainIters, numExperts));
      }
    }
  }

  @Override
  public String name() {
    return "demo";
  }

  @Override
  public String summary() {
    return "train a dense GPT and its twin with experts, and compare their curves";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    ComputeDevice.check(options.device());
    ShutdownSignal signal = ShutdownSignal.install();
    Path output = Path.of(options.outputDir());
    Path jars =
        options.corpus() != null
            ? Path.of(options.corpus())
            : Path.of(System.getProperty("moe4j.home", ".")).resolve(JARS);
    DemoDirectory.open(output, lasting(options, jars), options.overwrite())
        .ifPresent(old -> LOG.warn("the demo that lay in {} lies in {} now", output, old));
    List<Path> runs = List.of(output.resolve("dense"), output.resolve("experts"));
    if (runs.stream().allMatch(run -> isDone(run, options))) {
      LOG.info("both models in {} are trained already: the report is made again", output);
    } else {
      Pretraining.Outcome outcome = train(options, jars, output, runs, signal);
      if (outcome != null) {
        LOG.info(
            "stopped before the comparison; the same command takes up from the checkpoints in {}",
            output);
        return outcome.status();
      }
    }
    CompareReport report = CompareReport.of(runs);
    joinMetrics(runs, output.resolve("metrics.jsonl"));
    int status = 0;
    try {
      LOG.info("report: {}", report.write(output));
    } catch (IOException e) {
      // The models are trained and their losses known: a picture that cannot be drawn hides
      // neither.
      LOG.error(e.getMessage());
      status = 1;
    }
    LOG.info(report.summary());
    return status;
  }

  /** What makes the demo's results what they are, by its flags' names. */
  private static Map<String, String> lasting(Options options, Path jars) throws IOException {
    Map<String, String> lasting = new TreeMap<>();
    lasting.put("seed", String.valueOf(options.seed()));
    lasting.put("train-iters", String.valueOf(options.trainIters()));
    lasting.put("num-experts", String.valueOf(options.numExperts()));
    // The files and not where they lie: a checkout may move.
    lasting.put("corpus", Corpus.files(jars));
    return lasting;
  }

  private static boolean isDone(Path run, Options options) {
    try {
      return SavedRun.in(run)
          .filter(saved -> saved.state() == SavedRun.State.DONE)
          .flatMap(SavedRun::newest)
          .filter(newest -> newest.iteration() >= options.trainIters())
          .isPresent();
    } catch (IOException e) {
      throw new UncheckedIOException(e.getMessage(), e);
    }
  }

  /**
   * Trains what is not trained yet, from where it is.
   *
   * @return how it was stopped; null where it was not
   */
  private static Pretraining.Outcome train(
      Options options, Path jars, Path output, List<Path> runs, ShutdownSignal signal)
      throws IOException {
    Corpus.Summary corpus =
        Corpus.write(
            jars,
            options.corpus() == null,
            output.resolve("corpus_text_document"),
            Tokenizers.of(TokenizerConfig.ofType("ByteTokenizer")));
    LOG.info(
        "corpus: {} Java files of {} libraries, {} MB, bytes as tokens",
        corpus.documents(),
        corpus.jars(),
        corpus.tokens() / 1_000_000);
    for (Path run : runs) {
      boolean experts = run.getFileName().toString().equals("experts");
      if (isDone(run, options)) {
        LOG.info("the model in {} is trained already", run);
        continue;
      }
      RunConfig config = config(options, corpus.prefix(), run, experts);
      Pretraining.Outcome outcome = train(config, signal);
      if (outcome.end() == RunEnd.STOPPED) {
        return outcome;
      }
    }
    return null;
  }

  /** Both runs' records in one file, each line with its run's directory. */
  private static void joinMetrics(List<Path> runs, Path file) throws IOException {
    ObjectMapper json = new ObjectMapper();
    List<String> lines = new ArrayList<>();
    for (Path run : runs) {
      for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
        ObjectNode node = (ObjectNode) json.readTree(line);
        lines.add(node.put("run", run.getFileName().toString()).toString());
      }
    }
    Files.write(file, lines);
  }

  private static Pretraining.Outcome train(RunConfig config, ShutdownSignal signal)
      throws IOException {
    return Pretraining.run(config, new GptTask(config), signal, null);
  }

  /** One of the two runs. */
  static RunConfig config(Options options, Path corpus, Path run, boolean experts) {
    int steps = options.trainIters();
    int eighth = Math.max(1, steps / 8);
    GptConfig shape =
        GptConfig.builder()
            .numLayers(4)
            .hiddenSize(128)
            .numAttentionHeads(4)
            .seqLength(256)
            .ffnHiddenSize(512)
            .positionEmbeddingType("rope")
            .normalization("RMSNorm")
            .qkLayernorm(true)
            .initMethodStd(0.05)
            .makeVocabSizeDivisibleBy(64)
            .build();
    TrainingConfig training =
        TrainingConfig.builder()
            .microBatchSize(8)
            .trainIters(steps)
            .evalInterval(eighth)
            // A demo of few steps does not spend its time on evaluations.
            .evalIters(Math.min(32, eighth))
            .seed(options.seed())
            .device(options.device())
            .build();
    OptimizerConfig optimizer =
        OptimizerConfig.builder()
            .lr(6e-3)
            .minLr(3e-4)
            .lrDecayStyle("cosine")
            .lrWarmupIters(Math.min(40, (steps - 1) / 2))
            .adamBeta2(0.95)
            .weightDecay(0.1)
            .build();
    DataFlags data =
        DataFlags.builder()
            .dataPath(corpus.toString())
            .split("90,10,0")
            .tokenizerType("ByteTokenizer")
            .build();
    MoeConfig moe = experts ? experts(options.numExperts()) : MoeConfig.dense();
    return RunConfig.builder(GptFamily.spec(shape, moe), training, optimizer, data)
        .checkpoint(checkpoint(run, eighth))
        .logging(
            LoggingConfig.builder()
                .logInterval(10)
                .tensorboardDir(run.resolve("tensorboard").toString())
                .runName(experts ? "%d experts, top 2".formatted(options.numExperts()) : "dense")
                .build())
        .build();
  }

  private static MoeConfig experts(int number) {
    return MoeConfig.builder()
        .numExperts(number)
        .moeFfnHiddenSize(256)
        .moeAuxLossCoeff(0.02)
        .build();
  }

  /** A demo that was stopped or killed is taken up by the same command. */
  private static CheckpointConfig checkpoint(Path run, int interval) {
    return CheckpointConfig.builder()
        .save(run.toString())
        .saveInterval(interval)
        .mostRecentK(1)
        .autoResume(true)
        .build();
  }
}
