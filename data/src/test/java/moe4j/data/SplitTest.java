package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.List;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class SplitTest {
  @DataProvider
  public Object[][] splits() {
    return new Object[][] {
      {"969,30,1", 1000, 969, 999, 1000},
      {"949,50,1", 999, 948, 998, 999},
      {"8,1,1", 15, 12, 14, 15},
      {"1,1,1", 100000, 33333, 66667, 100000},
      {"969, 30, 1", 100, 97, 100, 100},
      {"90,10", 10, 9, 10, 10},
      {"0,1,0", 10, 0, 10, 10},
      {"100", 7, 7, 7, 7},
      {".5 .25 .25", 6, 3, 4, 6},
    };
  }

  @Test(dataProvider = "splits")
  public void roundsAsPython(String text, int n, int train, int valid, int test) {
    Split split = Split.parse(text);
    assertEquals(split.range(Part.TRAIN, n), new Split.Range(0, train));
    assertEquals(split.range(Part.VALID, n), new Split.Range(train, valid));
    assertEquals(split.range(Part.TEST, n), new Split.Range(valid, test));
  }

  @Test
  public void knowsMegatronsMatrix() {
    assertEquals(
        Split.parse("0.1,0.2,0.7").matrix(),
        List.of(
            List.of(0, 0.1), List.of(0.1, 0.30000000000000004), List.of(0.30000000000000004, 1.0)));
    assertEquals(Split.parse("0,1,0").matrix(), Arrays.asList(null, List.of(0.0, 1.0), null));
    assertFalse(Split.parse("0,1").gives(Part.TRAIN));
  }

  @Test
  public void refusesOthers() {
    for (String text : new String[] {"", "0,0,0", "1,2,3,4", "none", "1.2.3,4"}) {
      String message =
          expectThrows(IllegalArgumentException.class, () -> Split.parse(text)).getMessage();
      assertEquals(message.substring(0, 8), "--split ");
    }
  }
}
