package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.OptionalLong;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/** When samples come in the same order though others are asked for. */
public class OrderTest {
  private final Random random = Seeds.random(OrderTest.class);

  @Test
  public void theSameOrderIsTheSame() {
    int same = 0;
    int others = 0;
    for (int i = 0; i < 300; i++) {
      int[] lengths = random.ints(30, 5, 40).toArray();
      GptIndices.Request few = request(lengths.length, 1 + random.nextInt(300));
      GptIndices.Request many = request(lengths.length, 1 + random.nextInt(300));
      GptIndices first = GptIndices.build(s -> lengths[s], few);
      GptIndices second = GptIndices.build(s -> lengths[s], many);
      boolean equal =
          Arrays.equals(first.documentIndex(), second.documentIndex())
              && Arrays.equals(first.shuffleIndex(), second.shuffleIndex());
      boolean told =
          GptIndices.order(s -> lengths[s], few).equals(GptIndices.order(s -> lengths[s], many));
      assertEquals(told, equal, few + " and " + many);
      if (equal) {
        same++;
      } else {
        others++;
      }
    }
    assertTrue(same > 20 && others > 20, same + " and " + others);
  }

  private static GptIndices.Request request(int sequences, long samples) {
    return new GptIndices.Request(
        new Split.Range(0, sequences), OptionalLong.of(samples), 8, 1234, true);
  }
}
