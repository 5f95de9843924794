package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.BuildInfo;
import moe4j.config.CheckpointConfig;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.RunJson;
import moe4j.model.SaveWords;
import moe4j.model.SavedConfig;
import moe4j.model.gpt.GptCheckpoint;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptModel;
import moe4j.model.gpt.Upcycling;
import moe4j.moe.MoeConfig;
import moe4j.parallel.World;
import moe4j.training.run.SaveDirectory;
import moe4j.training.step.ComputeDevice;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.javacpp.PointerScope;

/**
 * {@code moe4j upcycle}: a dense checkpoint becomes one with experts, of the same logits.
 *
 * <pre>
 * moe4j upcycle --load runs/dense --save runs/experts --num-experts 8 --moe-upcycling-granularity 2
 * </pre>
 */
public final class UpcycleCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(UpcycleCommand.class);

  /** Its flags beside those of the experts. */
  public record Options(
      @Flag(
              help = "directory of a dense model's checkpoints, the latest of which is used",
              required = true)
          String load,
      @Flag(help = "directory for the checkpoint with experts; it holds none yet", required = true)
          String save,
      @Flag(help = "where --save holds checkpoints, move them into SAVE/old-DATE first")
          boolean overwrite,
      @Flag(
              help = "shards into which the dense feed-forward block is cut, an expert each",
              value = "1")
          int moeUpcyclingGranularity) {}

  @Override
  public String name() {
    return "upcycle";
  }

  @Override
  public String summary() {
    return "make a dense checkpoint one with experts, of the same logits";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, MoeConfig.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    Upcycling upcycling =
        new Upcycling(parsed.get(MoeConfig.class), options.moeUpcyclingGranularity());
    Path save = Path.of(options.save());
    checkApart(Path.of(options.load()), save);
    try (Checkpoint checkpoint = GptCheckpoint.open(Path.of(options.load()), LOG::warn)) {
      ModelSpec saved = SavedConfig.of(checkpoint, null).model("gpt");
      Integer experts = saved.moe().numExperts();
      if (experts != null) {
        throw new IllegalArgumentException(
            "checkpoint %s has experts already (--num-experts %d)"
                .formatted(checkpoint.directory(), experts));
      }
      GptConfig shape = saved.flags(GptConfig.class);
      MoeConfig moe = upcycling.flags(shape);
      try (SaveDirectory directory = directory(options)) {
        upcycling.notes().forEach(LOG::warn);
        directory.check();
        upcycle(checkpoint, upcycling, moe, save);
      }
      System.out.println(next(save, checkpoint.info().iteration(), moe));
    }
    return 0;
  }

  private static SaveDirectory directory(Options options) throws IOException {
    return SaveDirectory.open(
        World.alone(),
        CheckpointConfig.builder().save(options.save()).overwrite(options.overwrite()).build(),
        new SaveWords("--save", "pretrain-gpt --load %s"),
        LOG::warn);
  }

  private static void checkApart(Path load, Path save) throws IOException {
    if (Files.exists(load)
        && Files.exists(save)
        && load.toRealPath().startsWith(save.toRealPath())) {
      throw new IllegalArgumentException(
          Files.isSameFile(load, save)
              ? "--save %s is --load: the checkpoint with experts needs a directory of its own"
                  .formatted(save)
              : "--load %s lies in --save %s: the checkpoint with experts needs another directory"
                  .formatted(load, save));
    }
  }

  private static void upcycle(Checkpoint checkpoint, Upcycling upcycling, MoeConfig moe, Path save)
      throws IOException {
    CheckpointInfo info = checkpoint.info();
    try (ProgressLine line = ProgressLine.of("", new ProgressLine.Count("part", 3, "", 1));
        ComputeDevice device = ComputeDevice.open("cpu");
        GptModel dense = GptCheckpoint.model(checkpoint, null, device.device());
        ParameterSet parameters =
            new ParameterSet(info.seed(), dense.parameters().dtype(), device.device());
        // Experts are saved as views, one each.
        PointerScope scope = new PointerScope()) {
      line.figure("making the experts");
      line.done(1);
      GptModel model = upcycling.model(dense, parameters);
      line.figure("writing the checkpoint");
      line.done(2);
      Path directory =
          new CheckpointStore(save, -1)
              .save(
                  new CheckpointInfo(
                      info.iteration(),
                      info.consumedTrainSamples(),
                      info.consumedValidSamples(),
                      info.skippedTrainSamples(),
                      info.seed(),
                      info.randomState(),
                      RunJson.withMoe(info.configuration(), moe),
                      BuildInfo.commit(),
                      BuildInfo.version(),
                      info.extra()),
                  ModelState.model(parameters),
                  List.of());
      line.close();
      GptConfig shape = model.config();
      System.out.printf(
          "%s: %d experts of %d channels in %d of %d layers, %d a token (the dense %d channels in"
              + " shards: %d, copies: %d); %d parameters, the dense model has %d%n",
          directory,
          moe.numExperts(),
          moe.expertHiddenSize(shape.layerShape()),
          moe.moeLayerCount(shape.numLayers()),
          shape.numLayers(),
          moe.moeRouterTopk(),
          shape.ffnHiddenSize(),
          upcycling.granularity(),
          moe.numExperts() / upcycling.granularity(),
          parameters.elements(),
          dense.parameters().elements());
    }
  }

  /** What to type to train on. */
  private static String next(Path save, long iteration, MoeConfig moe) {
    List<String> line = new ArrayList<>();
    line.addAll(List.of("--load", save.toString(), "--save", save.toString(), "--no-load-optim"));
    line.addAll(Flags.shortCommandLine(moe));
    return """
        to train on from iteration %d (from step 0 with --finetune in place of --no-load-optim, \
        and another --save), \
        behind the dense run's flags for model and data:
        moe4j pretrain-gpt ... %s"""
        .formatted(
            iteration, line.stream().map(UpcycleCommand::quoted).collect(Collectors.joining(" ")));
  }

  /** A word as a shell takes it. */
  private static String quoted(String word) {
    return word.matches("[\\w./=+:,@-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
  }
}
