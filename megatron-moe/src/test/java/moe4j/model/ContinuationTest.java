package moe4j.model;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.tokenizer.Tokenizer;
import org.testng.annotations.Test;

/** Texts of a model that counts upwards. */
public class ContinuationTest {
  private static final int EOD = 9;

  /** What the model was given, a list each time, and how often a text was closed. */
  private final List<List<Integer>> taken = new ArrayList<>();

  private int closed;

  @Test
  public void eachTokenIsTakenOnce() {
    taken.clear();
    closed = 0;
    Continuation greedy = new Continuation(new Counting(EOD), new Sampler(0, 0, 1));
    int[] text = greedy.of(new int[] {1, 2}, 3, new Random(1));
    assertEquals(text, new int[] {1, 2, 3, 4, 5});
    assertEquals(taken, List.of(List.of(1, 2), List.of(3), List.of(4)));
    assertEquals(closed, 1);
  }

  @Test
  public void endsWithTheDocument() {
    Continuation greedy = new Continuation(new Counting(EOD), new Sampler(0, 0, 1));
    assertEquals(greedy.of(new int[] {7}, 50, new Random(1)), new int[] {7, 8});
  }

  @Test
  public void withoutATextADocumentBegins() {
    Continuation greedy = new Continuation(new Counting(EOD), new Sampler(0, 0, 1));
    assertEquals(greedy.prompt(""), new int[] {EOD});
    assertEquals(greedy.of(greedy.prompt(null), 2, new Random(1)), new int[] {0, 1});
    Continuation none = new Continuation(new Counting(-1), new Sampler(0, 0, 1));
    assertTrue(
        expectThrows(IllegalArgumentException.class, () -> none.prompt(""))
            .getMessage()
            .startsWith("--prompt is needed"));
  }

  @Test
  public void aPaddedRowIsNoToken() {
    // Of ten ids the model has sixteen rows, of which it finds the last likeliest.
    Continuation greedy = new Continuation(new Counting(-1), new Sampler(0, 0, 1));
    assertEquals(greedy.of(new int[] {4}, 1, new Random(1)), new int[] {4, 5});
  }

  @Test
  public void aSamplersRangesAreChecked() {
    assertThrows(IllegalArgumentException.class, () -> new Sampler(-1, 0, 1));
    assertThrows(IllegalArgumentException.class, () -> new Sampler(1, 0, 0));
  }

  /** Ten ids in sixteen rows: the likeliest is one more than the last token, modulo ten. */
  private final class Counting implements TextModel {
    private final int eod;

    Counting(int eod) {
      this.eod = eod;
    }

    @Override
    public Tokenizer tokenizer() {
      return new Tokenizer() {
        @Override
        public int[] encode(String text) {
          return text.chars().map(c -> c - '0').toArray();
        }

        @Override
        public String decode(int[] tokens) {
          throw new AssertionError("the text is read as tokens here");
        }

        @Override
        public int vocabSize() {
          return 10;
        }

        @Override
        public int eod() {
          return eod;
        }

        @Override
        public int pad() {
          return -1;
        }

        @Override
        public Map<String, Object> identity() {
          return Map.of();
        }
      };
    }

    @Override
    public NextToken begin() {
      return new NextToken() {
        @Override
        public float[] after(int... tokens) {
          List<Integer> each = new ArrayList<>();
          for (int token : tokens) {
            each.add(token);
          }
          taken.add(each);
          float[] logits = new float[16];
          logits[(tokens[tokens.length - 1] + 1) % 10] = 1;
          logits[15] = 2;
          return logits;
        }

        @Override
        public void close() {
          closed++;
        }
      };
    }

    @Override
    public void close() {}
  }
}
