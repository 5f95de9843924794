package moe4j.tests;

import java.time.Duration;
import moe4j.model.LanguageModel;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import moe4j.transformer.Batch;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A rank of a pretraining whose last rank has, in one step, a loss that is not a number. */
final class FaultyRank {
  static final String NAN_STEP = "MOE4J_TEST_NAN_STEP";

  private FaultyRank() {}

  /** Runs with the flags given. */
  public static void main(String[] args) {
    WorldEnvironment environment = WorldEnvironment.of(System.getenv());
    torch.set_num_threads(1);
    int step = Integer.parseInt(System.getenv(NAN_STEP));
    boolean last = environment.rank() == environment.size() - 1;
    int status = 0;
    try (World world = World.open(environment, Duration.ofSeconds(30))) {
      RunConfig config = GptFamily.parse(environment.size(), args);
      Pretraining.run(
          world,
          config,
          new SmallGpt(config, model -> last ? new Faulty(model, step) : model),
          ShutdownSignal.install(),
          null);
    } catch (Exception e) {
      System.out.println(e.getMessage());
      status = 1;
    }
    System.out.flush();
    Runtime.getRuntime().halt(status);
  }

  private record Faulty(LanguageModel model, long step) implements LanguageModel {
    @Override
    public ParameterSet parameters() {
      return model.parameters();
    }

    @Override
    public Tensor loss(Batch batch, Pass pass) {
      Tensor loss = model.loss(batch, pass);
      return pass.isTraining() && pass.random().step() == step
          ? loss.mul(new Scalar(Double.NaN))
          : loss;
    }
  }
}
