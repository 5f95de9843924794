package moe4j.model.txl;

import static org.testng.Assert.assertEquals;

import java.util.List;
import java.util.stream.IntStream;
import moe4j.moe.Moe;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** How large the presets' models are: as upstream's own, which its code counts and prints. */
public class ParameterCountTest {
  /** Symbols of enwik8 as upstream reads it. */
  private static final int ENWIK8 = 204;

  @DataProvider
  public Object[][] presets() {
    return new Object[][] {
      {"enwik8-base", 41_055_436L, 40_949_760L, 3_412_480L},
      {"enwik8-base-moe64", 822_738_892L, 822_633_216L, 68_552_768L},
    };
  }

  @Test(dataProvider = "presets")
  public void asUpstream(String preset, long total, long inLayers, long perLayer) {
    TransformerXlRun run = SmallRun.parse("--preset", preset);
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("meta"))) {
      TransformerXl model =
          TransformerXl.create(
              run.model(),
              ENWIK8,
              run.training().batchSize(),
              Moe.feedForward(run.model().layerShape(), run.config().moe()),
              parameters);
      assertEquals(parameters.elements(), total);
      List<Long> layers =
          IntStream.range(0, 12).mapToObj(i -> within(parameters, "decoder.layers." + i)).toList();
      assertEquals(layers, IntStream.range(0, 12).mapToObj(i -> perLayer).toList());
      assertEquals(within(parameters, "decoder.layers"), inLayers);
      // And the lines that say so.
      assertEquals(
          new UpstreamLog(null, 1, 1, System::nanoTime).model(parameters),
          List.of("#params = " + total, "#non emb params = " + inLayers));
      // What is remembered is no parameter: 12 layers of [22, 512, 512].
      assertEquals(model.memories().size(), 12);
      assertEquals(
          parameters.buffers().stream().mapToLong(b -> b.tensor().numel()).sum(),
          12L * 22 * 512 * 512);
    }
  }

  private static long within(ParameterSet parameters, String scope) {
    return parameters.all().stream()
        .filter(p -> p.name().startsWith(scope + "."))
        .map(Parameter::tensor)
        .mapToLong(t -> t.numel())
        .sum();
  }

  /** Every flag of upstream's run_enwik8_base.sh and FastMoE's run_enwik8_base_moe.sh. */
  @Test
  public void presetsAreUpstreamsScripts() {
    TransformerXlRun dense = SmallRun.parse("--preset", "enwik8-base");
    TransformerXlRun moe = SmallRun.parse("--preset", "enwik8-base-moe64");
    for (TransformerXlRun run : List.of(dense, moe)) {
      TransformerXlConfig model = run.model();
      assertEquals(
          List.of(
              model.nLayer(),
              model.dModel(),
              model.nHead(),
              model.dHead(),
              model.tgtLen(),
              model.memLen(),
              model.extLen(),
              model.clampLen(),
              model.divVal()),
          List.of(12, 512, 8, 64, 512, 512, 0, -1, 1));
      assertEquals(List.of(model.dropout(), model.dropatt()), List.of(0.1, 0.0));
      assertEquals(
          List.of(model.preLnorm(), model.sameLength(), model.notTied(), model.adaptive()),
          List.of(false, false, false, false));
      TrainingFlags training = run.training();
      assertEquals(
          List.of(
              training.batchSize(),
              training.maxStep(),
              training.evalTgtLen(),
              training.evalBatchSize(),
              training.warmupStep(),
              training.maxEvalSteps(),
              training.logInterval(),
              training.evalInterval(),
              training.seed()),
          List.of(22, 400_000, 128, 10, 0, -1, 200, 4000, 1111));
      assertEquals(
          List.of(training.lr(), training.etaMin(), training.clip()), List.of(2.5e-4, 0.0, 0.25));
      assertEquals(training.scheduler(), "cosine");
      assertEquals(
          model.lengths().evaluation(training.evalTgtLen()),
          new TransformerXlConfig.Lengths(128, 0, 896, false, -1));
      // torch.optim.Adam's own.
      assertEquals(
          List.of(
              run.config().optimizer().adamBeta1(),
              run.config().optimizer().adamBeta2(),
              run.config().optimizer().adamEps(),
              run.config().optimizer().weightDecay()),
          List.of(0.9, 0.999, 1e-8, 0.0));
      assertEquals(run.corpus().vocabulary(), "upstream");
    }
    assertEquals(dense.model().dInner(), 2048);
    assertEquals(dense.config().moe().enabled(), false);
    assertEquals(moe.config().moe().numExperts(), Integer.valueOf(64));
    assertEquals(moe.config().moe().moeRouterTopk(), 2);
    assertEquals(moe.config().moe().moeFfnHiddenSize(), Integer.valueOf(1024));
    assertEquals(moe.config().moe().addExpertBias(), true);
  }

  /** A rank of several has its own columns' memories, and no others'. */
  @Test
  public void aRankRemembersItsColumns() {
    TransformerXlRun run = SmallRun.line(2, "--preset", "enwik8-base");
    assertEquals(run.config().training().microBatchSize(), 11);
    assertEquals(run.config().training().globalBatchSize(), 22);
    // One a rank: a second micro-batch would be of other columns, and remember these.
    assertEquals(run.config().training().microBatches(), 2);
  }
}
