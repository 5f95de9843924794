package moe4j.model.txl;

import moe4j.config.Builders;
import moe4j.config.Faults;
import moe4j.config.Flag;

/** How a Transformer-XL is trained, by upstream's flags with dashes and with its defaults. */
public record TrainingFlags(
    @Flag(
            help = "columns of the training's batch",
            value = "60",
            insteadOf = {"micro-batch-size", "global-batch-size"})
        int batchSize,
    @Flag(help = "steps to train for", value = "100000", insteadOf = "train-iters") int maxStep,
    @Flag(
            help = "optimizer",
            value = "adam",
            choices = {"adam", "sgd", "adagrad"},
            insteadOf = "optimizer")
        String optim,
    @Flag(help = "highest learning rate", value = "0.00025") double lr,
    @Flag(
            help = "how the learning rate falls",
            value = "cosine",
            choices = {"cosine", "inv_sqrt", "dev_perf", "constant"},
            insteadOf = "lr-decay-style")
        String scheduler,
    @Flag(help = "steps of linear warm-up", value = "0", insteadOf = "lr-warmup-iters")
        int warmupStep,
    @Flag(help = "lowest learning rate of the cosine", value = "0.0", insteadOf = "min-lr")
        double etaMin,
    @Flag(
            help = "largest norm of all gradients; 0 for no clipping",
            value = "0.25",
            insteadOf = "clip-grad")
        double clip,
    @Flag(help = "seed of initial weights and dropout", value = "1111") int seed,
    @Flag(help = "positions that are predicted at once in evaluations", value = "50")
        int evalTgtLen,
    @Flag(help = "columns of an evaluation's batch, upstream's constant", value = "10")
        int evalBatchSize,
    @Flag(help = "segments of an evaluation; -1 for all", value = "-1", insteadOf = "eval-iters")
        int maxEvalSteps,
    @Flag(help = "steps between evaluations", value = "4000") int evalInterval,
    @Flag(help = "steps between log lines", value = "200") int logInterval,
    @Flag(
            help = "directory for log.txt, metrics.jsonl, the latest and the best checkpoint",
            otherwise = "nothing is kept",
            insteadOf = "save")
        String workDir,
    @Flag(help = "go on with the run of --work-dir, or of --restart-dir", needs = "work-dir")
        boolean restart,
    @Flag(
            help = "the directory of the run to go on with",
            otherwise = "work-dir",
            needs = "restart",
            insteadOf = "load")
        String restartDir,
    @Flag(help = "go on with other data than the checkpoint's, at the place it had in its own")
        boolean overrideData,
    @Flag(
            help = "steps between checkpoints",
            otherwise = "those between evaluations",
            needs = "work-dir")
        Integer saveInterval,
    @Flag(help = "go on with the run of --work-dir if there is one, else start", needs = "work-dir")
        boolean autoResume,
    @Flag(
            help =
                "start anew where --work-dir holds another run, which is moved into"
                    + " WORK_DIR/old-DATE and stays there",
            needs = "work-dir")
        boolean overwrite) {

  /** Checks ranges and what moe4j does not have. */
  public TrainingFlags {
    Faults faults = new Faults();
    faults.positive("batch-size", batchSize);
    faults.positive("max-step", maxStep);
    faults.positive("eval-tgt-len", evalTgtLen);
    faults.positive("eval-batch-size", evalBatchSize);
    faults.positive("eval-interval", evalInterval);
    faults.positive("log-interval", logInterval);
    faults.positive("save-interval", saveInterval);
    faults.check(
        overrideData && !restart && !autoResume,
        "--override-data goes on from a checkpoint with other data: --restart, or --auto-resume,"
            + " says from which");
    faults.check(!optim.equals("adam"), "--optim %s: moe4j has only adam", optim);
    faults.check(
        !scheduler.equals("cosine") && !scheduler.equals("constant"),
        "--scheduler %s: moe4j has cosine and constant",
        scheduler);
    faults.check(
        maxEvalSteps == 0 || maxEvalSteps < -1,
        "--max-eval-steps %d is neither -1 nor positive",
        maxEvalSteps);
    faults.check(
        maxStep > 0 && (warmupStep < 0 || (warmupStep > 0 && warmupStep >= maxStep)),
        "--warmup-step %d is not between 0 and --max-step %d",
        warmupStep,
        maxStep);
    faults.check(
        !(etaMin >= 0) || !(lr >= etaMin),
        "--lr %s and --eta-min %s: 0 <= eta-min <= lr is asked for",
        lr,
        etaMin);
    faults.notNegative("clip", clip);
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static TrainingFlagsBuilder builder() {
    return Builders.of(TrainingFlags.class, TrainingFlagsBuilder.class);
  }

  /** A builder whose values are these. */
  public TrainingFlagsBuilder toBuilder() {
    return Builders.from(this, TrainingFlagsBuilder.class);
  }
}
