package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.util.List;
import moe4j.config.Flag;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Experiments by name, and what is typed beside them. */
public class PresetsTest {

  @DataProvider
  public Object[][] lines() {
    String typed = "--n-layer 3 --lr 0.001 --work-dir here --data there";
    return new Object[][] {
      {"--preset cpu " + typed},
      {typed + " --preset cpu"},
      {"--n-layer 3 --lr 0.001 --preset cpu --work-dir here --data there"},
      {"--preset=cpu " + typed},
      {typed + " --preset=cpu"},
    };
  }

  /** What is typed counts, in front of the name and behind it. */
  @Test(dataProvider = "lines")
  public void typedFlagsCount(String line) {
    TransformerXlRun run = SmallRun.parse(line);
    assertEquals(run.model().nLayer(), 3);
    assertEquals(run.training().lr(), 0.001);
    assertEquals(run.workDir(), "here");
    assertEquals(run.corpus().data(), "there");
    // And the rest is the preset's.
    assertEquals(run.model().dModel(), 128);
    assertEquals(run.training().warmupStep(), 40);
    assertEquals(run.device().runName(), "dense");
  }

  /** Every preset is a run, and the flag's choices are all there are. */
  @Test
  public void allAreRuns() throws NoSuchFieldException {
    Flag flag = Presets.Options.class.getRecordComponents()[0].getAnnotation(Flag.class);
    assertEquals(List.of(flag.choices()), Presets.names());
    for (String name : Presets.names()) {
      TransformerXlRun run = SmallRun.parse("--preset " + name + " --data there");
      assertEquals(run.corpus().data(), "there");
      assertTrue(run.workDir().startsWith("runs/"), run.workDir());
      assertEquals(run.config().moe().enabled(), name.contains("moe"), name);
      assertEquals(
          run.config().moe().addExpertBias(), name.contains("moe"), "biases as upstream's");
    }
  }

  /** A dense run and the one with experts differ in nothing else: their curves are compared. */
  @Test
  public void pairsDifferInTheExpertsAlone() {
    for (String[] pair :
        new String[][] {{"enwik8-base", "enwik8-base-moe64"}, {"cpu", "cpu-moe16"}}) {
      TransformerXlRun dense = SmallRun.parse("--preset " + pair[0] + " --data there");
      TransformerXlRun moe = SmallRun.parse("--preset " + pair[1] + " --data there");
      assertEquals(moe.model(), dense.model());
      assertEquals(moe.config().optimizer(), dense.config().optimizer());
      assertEquals(moe.config().training(), dense.config().training());
      assertEquals(
          2 * moe.config().moe().moeFfnHiddenSize(), dense.model().dInner(), "active size");
    }
  }

  /** A file takes the place of the preset's directory. */
  @Test
  public void aFileOfOnesOwn() {
    for (String file : List.of("--data-file text", "--data-file=text")) {
      TransformerXlRun run = SmallRun.parse(file + " --preset enwik8-base --split-bytes 10,5,5");
      assertNull(run.corpus().data());
      assertEquals(run.corpus().dataFile(), "text");
    }
  }

  @Test
  public void withoutAPresetTheLineIsAsTyped() {
    String[] line = {"--n-layer", "3", "--data", "there"};
    assertEquals(Presets.expand(line, said -> {}), line);
    assertEquals(Presets.expand(new String[] {"--preset"}, said -> {}), new String[] {"--preset"});
    assertEquals(
        Presets.expand(new String[] {"--preset", "other"}, said -> {}),
        new String[] {"--preset", "other"});
  }
}
