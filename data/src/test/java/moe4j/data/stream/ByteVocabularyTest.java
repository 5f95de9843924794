package moe4j.data.stream;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.Assert.ThrowingRunnable;
import org.testng.annotations.Test;

public class ByteVocabularyTest {
  private final Random random = Seeds.random(ByteVocabularyTest.class);

  private static ByteVocabulary upstream(String... parts) {
    ByteCounts counts = new ByteCounts();
    for (String part : parts) {
      counts.add(part.getBytes(ISO_8859_1), 0, part.length());
    }
    return ByteVocabulary.upstream(counts);
  }

  private static String symbols(ByteVocabulary vocabulary) {
    return new String(vocabulary.symbols(), ISO_8859_1);
  }

  /** b four times; c and a three times, c first; space and d twice, newlines most of all. */
  @Test
  public void upstreamByHand() {
    ByteVocabulary vocabulary = upstream("b c\n\n\nca\n", "\nb\n bac\n", "\nadd\u00e9b\n");
    assertEquals(symbols(vocabulary), "bca d\u00e9");
    assertEquals(vocabulary.size(), 6);
    assertEquals(vocabulary.name(), "upstream");
    assertEquals(vocabulary.kind(), ByteVocabulary.Kind.UPSTREAM);
    assertEquals(vocabulary.idOf('\n'), -1);
    assertEquals(vocabulary.idOf('x'), -1);
    assertEquals(vocabulary.idOf(0xe9), 5);
    assertEquals(vocabulary.byteOf(5), 0xe9);
    byte[] ids = vocabulary.encode("a\nb\u00e9\n\n c\n".getBytes(ISO_8859_1));
    assertEquals(ids, new byte[] {2, 0, 5, 3, 1});
    assertEquals(new String(vocabulary.decode(ids), ISO_8859_1), "ab\u00e9 c");
  }

  /** Which part a byte comes in first decides among equals, not its place in the alphabet. */
  @Test
  public void tiesStandInTheOrderOfFirstEncounter() {
    assertEquals(symbols(upstream("zyx", "", "")), "zyx");
    assertEquals(symbols(upstream("z", "ax", "xa")), "axz");
    assertEquals(symbols(upstream("z", "xa", "ax")), "xaz");
    assertEquals(symbols(upstream("ab", "", "ba")), "ab");
    assertEquals(symbols(upstream("\n\n", "", "\n")), "");
  }

  /**
   * A transcription of count_file and most_common: sorted() is stable, the dict keeps its order.
   */
  @Test(invocationCount = 20)
  public void upstreamOfRandomBytes() {
    byte[] bytes = new byte[random.nextInt(3000)];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (random.nextInt(2) == 0 ? random.nextInt(256) : 5 + random.nextInt(9));
    }
    Map<Integer, Integer> counter = new LinkedHashMap<>();
    for (byte b : bytes) {
      if (b != '\n') {
        counter.merge(b & 0xff, 1, Integer::sum);
      }
    }
    List<Integer> expected = new ArrayList<>(counter.keySet());
    expected.sort((a, b) -> counter.get(b) - counter.get(a));

    ByteCounts counts = new ByteCounts();
    int cut = random.nextInt(bytes.length + 1);
    counts.add(bytes, 0, cut);
    counts.add(bytes, cut, bytes.length);
    ByteVocabulary vocabulary = ByteVocabulary.upstream(counts);
    assertEquals(vocabulary.size(), expected.size());
    for (int id = 0; id < expected.size(); id++) {
      assertEquals(vocabulary.byteOf(id), (int) expected.get(id), "id " + id);
      assertEquals(vocabulary.idOf(expected.get(id)), id);
    }
    byte[] text = new String(bytes, ISO_8859_1).replace("\n", "").getBytes(ISO_8859_1);
    assertEquals(vocabulary.decode(vocabulary.encode(bytes)), text);
  }

  @Test
  public void bytesAreAsTheyAre() {
    ByteVocabulary vocabulary = ByteVocabulary.bytes();
    assertEquals(vocabulary.size(), 256);
    assertEquals(vocabulary.name(), "bytes");
    byte[] all = new byte[256];
    for (int i = 0; i < 256; i++) {
      all[i] = (byte) i;
      assertEquals(vocabulary.idOf(i), i);
      assertEquals(vocabulary.byteOf(i), i);
    }
    assertEquals(vocabulary.encode(all), all);
    assertEquals(vocabulary.decode(all), all);
  }

  @Test
  public void rangesAreEncodedInPlace() {
    ByteVocabulary vocabulary = upstream("aab", "", "");
    byte[] ids = {9, 9, 9, 9};
    assertEquals(vocabulary.encode("xb\nax".getBytes(ISO_8859_1), 1, 4, ids, 1), 2);
    assertEquals(ids, new byte[] {9, 1, 0, 9});
    expectThrows(
        IndexOutOfBoundsException.class, () -> vocabulary.encode(new byte[3], 0, 3, ids, 2));
  }

  @Test
  public void identityTellsVocabulariesApart() {
    ByteVocabulary one = upstream("aab", "", "");
    assertEquals(one.identity(), upstream("ba\na", "\n", "").identity());
    assertTrue(one.identity().matches("upstream-2-[0-9a-f]{16}"), one.identity());
    assertTrue(ByteVocabulary.bytes().identity().matches("bytes-256-[0-9a-f]{16}"));
    assertNotEquals(one.identity(), upstream("abb", "", "").identity());
    assertNotEquals(one.identity(), upstream("aac", "", "").identity());
    ByteVocabulary saved = ByteVocabulary.of(one.kind(), one.symbols());
    assertEquals(saved.identity(), one.identity());
    assertEquals(
        ByteVocabulary.of(ByteVocabulary.Kind.BYTES, ByteVocabulary.bytes().symbols()).identity(),
        ByteVocabulary.bytes().identity());
  }

  @Test
  public void refusals() {
    assertEquals(
        refusal(() -> upstream("ab", "", "").encode(new byte[] {'a', 'c'})),
        "byte 99 is not among the 2 symbols of the vocabulary upstream");
    assertEquals(
        refusal(() -> ByteVocabulary.Kind.of("words")),
        "a byte vocabulary is bytes or upstream, not 'words'");
    assertEquals(
        refusal(() -> ByteVocabulary.of(ByteVocabulary.Kind.UPSTREAM, new byte[] {1, 2, 1})),
        "byte 1 is symbol 0 and symbol 2 of one vocabulary");
    assertEquals(
        refusal(() -> ByteVocabulary.of(ByteVocabulary.Kind.UPSTREAM, new byte[] {1, 10})),
        "the vocabulary upstream has no newline, byte 10");
    assertTrue(
        refusal(() -> ByteVocabulary.of(ByteVocabulary.Kind.BYTES, new byte[] {0, 1}))
            .startsWith("the vocabulary bytes has the 256 bytes"));
    assertEquals(ByteVocabulary.Kind.of("bytes"), ByteVocabulary.Kind.BYTES);
    assertEquals(ByteVocabulary.Kind.of("upstream"), ByteVocabulary.Kind.UPSTREAM);
  }

  private static String refusal(ThrowingRunnable body) {
    return expectThrows(IllegalArgumentException.class, body).getMessage();
  }
}
