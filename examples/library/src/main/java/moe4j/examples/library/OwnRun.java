package moe4j.examples.library;

import java.io.IOException;
import java.util.Map;
import moe4j.config.DataFlags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;

/** A pretraining run that a Java program puts together. */
public final class OwnRun {
  private OwnRun() {}

  // [config]
  /** A GPT with eight experts in each layer, for so many steps on made-up data. */
  public static RunConfig config(int steps) {
    GptConfig gpt =
        GptConfig.builder()
            .numLayers(2)
            .hiddenSize(32)
            .numAttentionHeads(4)
            .seqLength(32)
            .swiglu(true)
            .build();
    MoeConfig experts =
        MoeConfig.builder().numExperts(8).fmoefy(true).moeAuxLossCoeff(0.01).build();
    TrainingConfig training =
        TrainingConfig.builder().microBatchSize(4).trainIters(steps).evalIters(0).build();
    OptimizerConfig optimizer = OptimizerConfig.builder().lr(1e-2).lrDecayStyle("cosine").build();
    DataFlags data = DataFlags.builder().mockData(true).vocabSize(64).build();
    return RunConfig.builder(GptFamily.spec(gpt, experts), training, optimizer, data)
        .logging(LoggingConfig.builder().logInterval(10).build())
        .build();
  }

  // [/config]

  // [train]
  /** Trains it in this process, with the log that {@code pretrain} has. */
  public static Pretraining.Outcome train(RunConfig run) throws IOException {
    WorldEnvironment alone = WorldEnvironment.of(Map.of());
    return Pretraining.run(run, run.family().task(run, alone), ShutdownSignal.none(), null);
  }
  // [/train]
}
