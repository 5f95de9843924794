package moe4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointInfo;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.BuildInfo;
import moe4j.config.CheckpointConfig;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.ModelState;
import moe4j.model.RunJson;
import moe4j.model.SaveWords;
import moe4j.model.SavedConfig;
import moe4j.model.Upcycled;
import moe4j.model.Upcycling;
import moe4j.moe.MoeConfig;
import moe4j.parallel.World;
import moe4j.training.run.SaveDirectory;
import moe4j.training.step.ComputeDevice;
import moe4j.transformer.LayerShape;
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
    Path load = Path.of(options.load());
    Path save = Path.of(options.save());
    int granularity = options.moeUpcyclingGranularity();
    Upcycling upcycling = new Upcycling(parsed.get(MoeConfig.class), granularity);
    checkApart(load, save);
    try (Checkpoint checkpoint = SavedModels.open(load, LOG::warn)) {
      SavedConfig saved = SavedConfig.of(checkpoint, null);
      ModelFamily family = saved.family();
      Upcycled upcycled = family.upcycled(checkpoint, upcycling);
      ModelSpec dense = saved.model();
      Integer experts = dense.moe().numExperts();
      if (experts != null) {
        throw new IllegalArgumentException(
            "checkpoint %s has experts already (--num-experts %d)"
                .formatted(checkpoint.directory(), experts));
      }
      try (SaveDirectory directory = directory(options, family)) {
        upcycled.notes().forEach(LOG::warn);
        directory.check();
        upcycle(checkpoint, dense.layerShape(), upcycled, granularity, save);
      }
      System.out.println(next(save, checkpoint.info().iteration(), family, upcycled.moe()));
    }
    return 0;
  }

  private static SaveDirectory directory(Options options, ModelFamily family) throws IOException {
    String goOn = "pretrain-%s --load %%s".formatted(family.name());
    return SaveDirectory.open(
        World.alone(),
        CheckpointConfig.builder().save(options.save()).overwrite(options.overwrite()).build(),
        new SaveWords("--save", "--save", goOn, goOn),
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

  private static void upcycle(
      Checkpoint checkpoint, LayerShape dense, Upcycled upcycled, int granularity, Path save)
      throws IOException {
    CheckpointInfo info = checkpoint.info();
    MoeConfig moe = upcycled.moe();
    try (ProgressLine line = ProgressLine.of("", new ProgressLine.Count("part", 3, "", 1));
        ComputeDevice device = ComputeDevice.open("cpu")) {
      line.figure("making the experts");
      line.done(1);
      // Experts are saved as views, one each.
      try (Upcycled.Model model = upcycled.make(device.device());
          PointerScope scope = new PointerScope()) {
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
                    ModelState.model(model.parameters()),
                    List.of());
        line.close();
        System.out.printf(
            "%s: %d experts of %d channels in %d of %d layers, %d a token (the dense %d channels in"
                + " shards: %d, copies: %d); %d parameters, the dense model has %d%n",
            directory,
            moe.numExperts(),
            moe.expertHiddenSize(dense),
            moe.moeLayerCount(dense.layers()),
            dense.layers(),
            moe.moeRouterTopk(),
            dense.ffnHiddenSize(),
            granularity,
            moe.numExperts() / granularity,
            model.parameters().elements(),
            model.denseElements());
      }
    }
  }

  /** What to type to train on. */
  private static String next(Path save, long iteration, ModelFamily family, MoeConfig moe) {
    List<String> line = new ArrayList<>();
    line.addAll(List.of("--load", save.toString(), "--save", save.toString(), "--no-load-optim"));
    line.addAll(Flags.shortCommandLine(moe));
    return """
        to train on from iteration %d (from step 0 with --finetune in place of --no-load-optim, \
        and another --save), \
        behind the dense run's flags for model and data:
        moe4j pretrain-%s ... %s"""
        .formatted(iteration, family.name(), CommandLines.typed(line));
  }
}
