package moe4j.examples.gpt;

import java.io.IOException;
import java.util.Map;
import moe4j.config.CheckpointConfig;
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

/**
 * Trains a small GPT of bytes on a corpus of {@code moe4j preprocess}, first dense and then with
 * eight experts in each layer, two of them a token. {@code moe4j compare} draws both curves.
 */
public final class TrainGpt {
  private static final int EXPERTS = 8;

  private TrainGpt() {}

  /** Trains both models. The arguments are the corpus's prefix and the directory of the runs. */
  public static void main(String[] args) throws IOException {
    if (args.length != 2) {
      System.err.println("TrainGpt needs two arguments: CORPUS_PREFIX RUNS_DIRECTORY");
      System.exit(2);
    }
    train(args[0], args[1] + "/dense", 0, 1000);
    train(args[0], args[1] + "/experts", EXPERTS, 1000);
  }

  /** Trains one model for so many steps; without experts it is dense. */
  static Pretraining.Outcome train(String corpus, String save, int experts, int steps)
      throws IOException {
    RunConfig run = config(corpus, save, experts, steps);
    WorldEnvironment alone = WorldEnvironment.of(Map.of());
    return Pretraining.run(run, run.family().task(run, alone), ShutdownSignal.none(), null);
  }

  private static RunConfig config(String corpus, String save, int experts, int steps) {
    GptConfig gpt =
        GptConfig.builder()
            .numLayers(2)
            .hiddenSize(128)
            .numAttentionHeads(4)
            .seqLength(64)
            .swiglu(true)
            .build();
    MoeConfig moe =
        experts == 0
            ? MoeConfig.builder().build()
            : MoeConfig.builder()
                .numExperts(experts)
                .fmoefy(true)
                .moeRouterTopk(2)
                .moeAuxLossCoeff(0.01)
                .build();
    TrainingConfig training =
        TrainingConfig.builder().microBatchSize(8).trainIters(steps).evalIters(10).build();
    OptimizerConfig optimizer = OptimizerConfig.builder().lr(1e-3).lrDecayStyle("cosine").build();
    DataFlags data = DataFlags.builder().dataPath(corpus).tokenizerType("ByteTokenizer").build();
    return RunConfig.builder(GptFamily.spec(gpt, moe), training, optimizer, data)
        .checkpoint(CheckpointConfig.builder().save(save).build())
        .logging(LoggingConfig.builder().logInterval(50).build())
        .build();
  }
}
