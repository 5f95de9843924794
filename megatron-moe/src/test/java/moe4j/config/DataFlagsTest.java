package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.util.List;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class DataFlagsTest {
  private static DataFlags parse(String line) {
    return Flags.parse(DataFlags.class, Refusals.words(line));
  }

  @Test
  public void pathsComeWithWeightsOrWithout() {
    DataFlags one = parse("--data-path corpus --vocab-size 257 --split 99,1,0");
    assertEquals(one.dataPath(), List.of("corpus"));
    assertEquals((int) one.vocabSize(), 257);
    assertEquals(one.split(), "99,1,0");
    assertEquals(
        parse("--eod-mask-loss --data-path 0.3 a 0.7 b --reset-position-ids").dataPath(),
        List.of("0.3", "a", "0.7", "b"));
    assertNull(parse("--mock-data").split());
  }

  @Test
  public void eachPartMayHaveItsPaths() {
    DataFlags flags = parse("--train-data-path a b --valid-data-path c");
    assertEquals(flags.trainDataPath(), List.of("a", "b"));
    assertEquals(flags.validDataPath(), List.of("c"));
    assertEquals(flags.testDataPath(), List.of());
  }

  @DataProvider
  public Object[][] sources() {
    return new Object[][] {
      {"", 0},
      {"--split 1,1,1", 0},
      {"--data-path a --mock-data", 2},
      {"--data-path a --train-data-path b", 2},
      {"--data-args-path a --per-split-data-args-path b", 2},
      {"--data-path a --data-args-path b --per-split-data-args-path c --mock-data", 4},
    };
  }

  @Test(dataProvider = "sources")
  public void thereIsOneSource(String line, int given) {
    String sentence = Refusals.of(DataFlags.class, line);
    assertTrue(sentence.startsWith("one of --data-path, "), sentence);
    assertTrue(sentence.endsWith(" is asked for, " + given + " are given"), sentence);
  }

  @Test
  public void aSplitIsForOneSourceOfAllParts() {
    for (String line : List.of("--train-data-path a", "--per-split-data-args-path a")) {
      assertEquals(
          Refusals.of(DataFlags.class, line + " --split 1,1,1"),
          "--split and paths for each split exclude each other");
    }
  }
}
