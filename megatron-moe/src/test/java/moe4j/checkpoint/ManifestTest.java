package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.testng.annotations.Test;

public class ManifestTest {
  private static final Path FILE = Path.of("iter_0000100", "manifest.json");
  private static final Manifest.FileEntry ENTRY =
      new Manifest.FileEntry("a.safetensors", Section.MODEL, 1000, "crc32c:00000000");

  @Test
  public void comesBackAsItWas() throws IOException {
    Manifest manifest = manifest(piece(0, 2), piece(2, 3));
    Manifest parsed = Manifest.parse(FILE, manifest.toBytes());
    assertEquals(parsed, manifest);
    assertEquals(parsed.run().configuration().get("lr").asDouble(), 6e-4);
    assertEquals(parsed.run().seed(), -1234567890123456789L);
  }

  /** It stays ordinary JSON, with the checksum as its last property. */
  @Test
  public void isJson() throws IOException {
    String text = new String(manifest(piece(0, 5)).toBytes(), StandardCharsets.UTF_8);
    assertTrue(text.matches("(?s).*,\n  \"checksum\" : \"crc32c:[0-9a-f]{8}\"\n}\n"), text);
    assertEquals(
        new com.fasterxml.jackson.databind.ObjectMapper().readTree(text).path("run").size(), 10);
  }

  @Test
  public void everyFlippedBitAndEveryTruncationIsRecognised() {
    byte[] bytes = manifest(piece(0, 5)).toBytes();
    for (int at = 0; at < bytes.length; at++) {
      for (int bit = 0; bit < 8; bit++) {
        byte[] flipped = bytes.clone();
        flipped[at] ^= (byte) (1 << bit);
        assertThrows(IOException.class, () -> Manifest.parse(FILE, flipped));
      }
      byte[] truncated = Arrays.copyOf(bytes, at);
      assertThrows(IOException.class, () -> Manifest.parse(FILE, truncated));
    }
  }

  @Test
  public void newerFormatsAreRefusedByNumber() {
    Manifest newer =
        new Manifest(
            Manifest.FORMAT_VERSION + 1,
            Instant.EPOCH.toString(),
            Samples.info(1),
            List.of(),
            Map.of());
    IOException refusal =
        expectThrows(IOException.class, () -> Manifest.parse(FILE, newer.toBytes()));
    assertEquals(refusal.getMessage(), FILE + " has format version 2; this moe4j reads 1 to 1");
  }

  /** What a later version adds without a change of meaning does not lock this one out. */
  @Test
  public void unknownPropertiesAreIgnored() throws IOException {
    Manifest manifest = manifest(piece(0, 5));
    String text = new String(manifest.toBytes(), StandardCharsets.UTF_8);
    String body = text.substring(0, text.indexOf(",\n  \"checksum\""));
    body = body.replaceFirst("\\{", "{ \"colour\" : \"blue\",");
    String sum = Checksum.of(body.getBytes(StandardCharsets.UTF_8));
    byte[] bytes =
        (body + ",\n  \"checksum\" : \"" + sum + "\"\n}\n").getBytes(StandardCharsets.UTF_8);
    assertEquals(Manifest.parse(FILE, bytes), manifest);
  }

  @Test
  public void piecesMustMakeUpTheTensor() {
    refused("pieces for 4 of its 5", piece(0, 4));
    refused("pieces for 0 of its 5");
    refused("overlapping", piece(0, 3), piece(2, 3));
    refused("cannot have the piece", piece(0, 6));
    refused(
        "cannot have the piece",
        new Manifest.Piece("b.safetensors", "w", Slice.whole(List.of(5L))));
  }

  @Test
  public void filesStayInTheirDirectory() {
    for (String name : List.of("../a", "/etc/passwd", ".hidden", "", "a/b")) {
      Manifest.FileEntry entry = new Manifest.FileEntry(name, Section.MODEL, 1, "");
      assertThrows(
          IllegalArgumentException.class,
          () ->
              new Manifest(1, Instant.EPOCH.toString(), Samples.info(1), List.of(entry), Map.of()));
    }
  }

  private static Manifest.Piece piece(long offset, long size) {
    return new Manifest.Piece(ENTRY.name(), "w", Slice.of(new long[] {offset}, new long[] {size}));
  }

  private static Manifest manifest(Manifest.Piece... pieces) {
    return new Manifest(
        Manifest.FORMAT_VERSION,
        Instant.now().toString(),
        Samples.info(100),
        List.of(ENTRY),
        Map.of("w", new Manifest.TensorEntry(Dtype.BF16, List.of(5L), List.of(pieces))));
  }

  private static void refused(String why, Manifest.Piece... pieces) {
    IllegalArgumentException refusal =
        expectThrows(IllegalArgumentException.class, () -> manifest(pieces));
    assertTrue(refusal.getMessage().contains(why), refusal.getMessage());
  }
}
