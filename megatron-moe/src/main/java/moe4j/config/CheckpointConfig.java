package moe4j.config;

/** Where checkpoints are saved and loaded, by Megatron's flags. */
public record CheckpointConfig(
    @Flag(help = "directory to save checkpoints to") String save,
    @Flag(help = "directory to load the latest checkpoint from") String load,
    @Flag(
            help = "steps between checkpoints",
            otherwise = "at the end only",
            needs = "save",
            tolerated = true)
        Integer saveInterval,
    @Flag(help = "keep so many checkpoints; -1 for all", value = "-1", needs = "save")
        int mostRecentK,
    @Flag(
            help = "keep the weights of the lowest validation loss, in SAVE/best, for the test set",
            needs = "save")
        boolean keepBest,
    @Flag(help = "leave the optimizer's state out of checkpoints", needs = "save")
        boolean noSaveOptim,
    @Flag(help = "do not load the optimizer's state", needs = "load") boolean noLoadOptim,
    @Flag(help = "load the weights only and start from step 0", needs = "load") boolean finetune,
    @Flag(
            help = "stop where --load holds no checkpoint, and do not start from nothing",
            needs = "load")
        boolean exitOnMissingCheckpoint,
    @Flag(
            help =
                "go on from the newest checkpoint in --save if there is one, else start, from"
                    + " --load if that is given",
            needs = "save")
        boolean autoResume,
    @Flag(
            help =
                "go on with other data than the checkpoint's, another --split, --seq-length or"
                    + " --seed, at the place that it had in its own")
        boolean overrideData,
    @Flag(
            help =
                "go on with the learning rate's schedule and the weight decay of the checkpoint's"
                    + " run, whatever the flags say of them")
        boolean useCheckpointOptParamScheduler,
    @Flag(
            help =
                "start anew where --save holds another run, which is moved into SAVE/old-DATE and"
                    + " stays there",
            needs = "save")
        boolean overwrite) {

  /** Checks ranges. */
  public CheckpointConfig {
    Faults faults = new Faults();
    faults.positive("save-interval", saveInterval);
    faults.check(
        mostRecentK == 0 || mostRecentK < -1,
        "--most-recent-k %d is neither -1 nor positive",
        mostRecentK);
    faults.check(
        overrideData && load == null && !autoResume,
        "--override-data goes on from a checkpoint with other data: --load, or --auto-resume,"
            + " says from which");
    faults.check(
        autoResume && overwrite,
        "--auto-resume goes on with what --save holds, and --overwrite starts anew: only one of"
            + " them can be");
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static CheckpointConfigBuilder builder() {
    return Builders.of(CheckpointConfig.class, CheckpointConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public CheckpointConfigBuilder toBuilder() {
    return Builders.from(this, CheckpointConfigBuilder.class);
  }
}
