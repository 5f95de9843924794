package moe4j.config;

import static org.testng.Assert.assertEquals;

import java.util.List;
import java.util.Optional;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class NearestTest {
  private static final List<String> KNOWN =
      List.of(
          "lr", "lr-decay-style", "lr-decay-iters", "save", "save-interval", "seed", "num-layers");

  @DataProvider
  public Object[][] typed() {
    return new Object[][] {
      {"num-layer", "num-layers"},
      {"num-leyars", "num-layers"},
      {"nun-layers", "num-layers"},
      {"num_layers", "num-layers"},
      {"sead", "seed"},
      {"lx", "lr"},
      // One letter off wins over a known word that is but a beginning.
      {"lr-decay-stile", "lr-decay-style"},
      {"save-intervall", "save-interval"},
      {"lr-decay-iter", "lr-decay-iters"},
      // Beginnings, in both directions.
      {"num", "num-layers"},
      {"lr-dec", "lr-decay-style"},
      {"save-interval-in-steps-of-a-run", "save-interval"},
    };
  }

  @Test(dataProvider = "typed")
  public void theNearestIsNamed(String typed, String nearest) {
    assertEquals(Nearest.to(typed, KNOWN), Optional.of(nearest));
  }

  @Test
  public void nothingIsNamedWhereNothingIsNear() {
    for (String typed : List.of("", "x", "xy", "warmth", "dropout", "nmbr-lyrs-of-it")) {
      assertEquals(Nearest.to(typed, KNOWN), Optional.empty(), typed);
    }
    assertEquals(Nearest.to("num-layers", List.of()), Optional.empty());
  }

  @Test
  public void oneChangedLetterIsAlwaysForgiven() {
    Random random = Seeds.random(NearestTest.class);
    List<String> apart = List.of("hidden-size", "micro-batch", "tokenizer", "weight-decay");
    for (int round = 0; round < 200; round++) {
      String word = apart.get(random.nextInt(apart.size()));
      StringBuilder typed = new StringBuilder(word);
      int at = random.nextInt(word.length());
      switch (random.nextInt(3)) {
        case 0 -> typed.setCharAt(at, '#');
        case 1 -> typed.deleteCharAt(at);
        default -> typed.insert(at, '#');
      }
      assertEquals(Nearest.to(typed.toString(), apart), Optional.of(word), typed.toString());
    }
  }
}
