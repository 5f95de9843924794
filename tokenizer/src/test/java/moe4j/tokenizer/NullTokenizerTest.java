package moe4j.tokenizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import org.testng.annotations.Test;

public class NullTokenizerTest {
  private final Tokenizer tokenizer = NullTokenizer.of(100);

  @Test
  public void idsAreNumbers() {
    assertEquals(tokenizer.encode("17 0\n 100"), new int[] {17, 0, 100});
    assertEquals(tokenizer.encode(" "), new int[0]);
    assertEquals(tokenizer.decode(new int[] {17, 0, 100}), "17 0 100");
    assertEquals(tokenizer.vocabSize(), 101);
    assertEquals(tokenizer.eod(), 100);
    assertEquals(
        tokenizer.identity().toString(),
        "{class=_NullTokenizer, tokenizer_path=[null], vocab_size=100}");
  }

  @Test
  public void otherTextIsRefused() {
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> tokenizer.encode("3 four")).getMessage(),
        "'four' is no token id: NullTokenizer reads ids 0 to 100 separated by spaces");
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> tokenizer.encode("3 101")).getMessage(),
        "token id 101 is outside the vocabulary, 0 to 100");
    expectThrows(IllegalArgumentException.class, () -> tokenizer.encode("99999999999"));
    expectThrows(IllegalArgumentException.class, () -> tokenizer.encode("-1"));
  }
}
