package moe4j.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.training.record.MadeUpRun;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class TensorBoardWriterTest {
  /** What TensorBoard 2.21's own writer makes of an event that holds the file's version. */
  private static final String VERSION =
      "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110";

  /** And of {@code lm loss} 2.5 at step 300. */
  private static final String SCALAR =
      "1e00000000000000d9dc12320900005040fc54d94110ac022a100a0e0a076c6d206c6f7373150000204091a76c0e";

  private Path directory;

  @BeforeMethod
  public void make() throws IOException {
    directory = Files.createTempDirectory("tensorboard");
  }

  @AfterMethod
  public void clean() throws IOException {
    MadeUpRun.delete(directory);
  }

  /** A clock that says one time and then another. */
  private static final class Ticks extends Clock {
    private final long[] millis;
    private int reads;

    Ticks(long... millis) {
      this.millis = millis;
    }

    @Override
    public ZoneOffset getZone() {
      return ZoneOffset.UTC;
    }

    @Override
    public Clock withZone(java.time.ZoneId zone) {
      return this;
    }

    @Override
    public Instant instant() {
      return Instant.ofEpochMilli(millis[Math.min(reads++, millis.length - 1)]);
    }
  }

  /** Payloads of a file whose every checksum is right. */
  private static List<byte[]> payloads(Path file) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    List<byte[]> payloads = new ArrayList<>();
    while (bytes.hasRemaining()) {
      byte[] length = new byte[8];
      bytes.get(length);
      assertEquals(bytes.getInt(), TensorBoardWriter.maskedCrc(length));
      byte[] payload =
          new byte[(int) ByteBuffer.wrap(length).order(ByteOrder.LITTLE_ENDIAN).getLong()];
      bytes.get(payload);
      assertEquals(bytes.getInt(), TensorBoardWriter.maskedCrc(payload));
      payloads.add(payload);
    }
    return payloads;
  }

  @Test
  public void checksum() {
    // CRC32C of "123456789" is e3069283; TFRecord's mask makes it c78ab0e5.
    byte[] digits = "123456789".getBytes(StandardCharsets.US_ASCII);
    assertEquals(Integer.toHexString(TensorBoardWriter.maskedCrc(digits)), "c78ab0e5");
  }

  @Test
  public void bytesAreThoseOfTensorBoardsWriter() throws IOException {
    Clock clock = new Ticks(1_700_000_000_500L, 1_700_000_000_500L, 1_700_000_001_250L);
    try (TensorBoardWriter writer = new TensorBoardWriter(directory, clock)) {
      writer.scalar("lm loss", 2.5, 300);
      assertEquals(HexFormat.of().formatHex(Files.readAllBytes(writer.file())), VERSION + SCALAR);
      assertTrue(
          writer.file().getFileName().toString().startsWith("events.out.tfevents.1700000000."));
    }
  }

  @Test
  public void histogram() throws IOException {
    ProtoBytes expected = new ProtoBytes();
    double[] limits = new double[30];
    double[] counts = new double[30];
    for (int i = 0; i < 30; i++) {
      limits[i] = i == 29 ? 3 : 1 + 2.0 / 30 * (i + 1);
    }
    counts[0] = 1;
    counts[15] = 1;
    counts[29] = 1;
    expected.float64(1, 1).float64(2, 3).float64(3, 3).float64(4, 6).float64(5, 14);
    expected.packed(6, limits).packed(7, counts);
    String body = HexFormat.of().formatHex(expected.toByteArray());
    assertTrue(
        body.startsWith(
            "09000000000000f03f11000000000000084019000000000000084021000000000000184029"
                + "0000000000002c40"));
    try (TensorBoardWriter writer = TensorBoardWriter.create(directory)) {
      writer.histogram("h", new double[] {1, 2, 3}, 7);
      String event = HexFormat.of().formatHex(payloads(writer.file()).get(1));
      assertTrue(event.endsWith(body), event);
    }
  }

  @Test
  public void everyRecordOfARunIsFramed() throws IOException {
    Random random = Seeds.random(TensorBoardWriterTest.class);
    try (TensorBoardWriter writer = TensorBoardWriter.create(directory)) {
      for (int step = 1; step <= 50; step++) {
        writer.train(MadeUpRun.iteration(step, 50, 8, random));
        writer.expertLoad(step, 16L * step, MadeUpRun.load(step, 4, 8, random));
      }
      writer.validation(
          new ValidationRecord(50, 800, ValidationRecord.Set.TEST, Map.of("lm loss", 1.5)));
      List<String> payloads = texts(writer.file());
      assertTrue(payloads.get(0).endsWith("brain.Event:2"));
      for (String tag :
          List.of(
              "learning-rate",
              "batch-size vs samples",
              "lm loss",
              "lm loss vs samples",
              "load_balancing_loss",
              "grad-norm",
              "loss-scale",
              "iteration-time",
              "lm loss test ppl",
              "moe/expert-load-cv_layer_3",
              "moe/router-entropy" + (char) 0x15,
              "moe/z_loss_layer_0")) {
        assertTrue(payloads.stream().anyMatch(payload -> payload.contains(tag)), tag);
      }
    }
  }

  /** Tags and values of a layer, in Megatron's form. */
  @Test
  public void whatALayersExpertsDo() throws IOException {
    ExpertLoad.Layer layer =
        new ExpertLoad.Layer(
            7,
            List.of(6L, 2L, 0L, 0L),
            2,
            Map.of("load_balancing_loss", 1.25),
            Map.of("router entropy", 0.75));
    Clock clock = Clock.fixed(Instant.ofEpochSecond(1_700_000_000), ZoneOffset.UTC);
    try (TensorBoardWriter writer = new TensorBoardWriter(directory.resolve("a"), clock);
        TensorBoardWriter expected = new TensorBoardWriter(directory.resolve("b"), clock)) {
      writer.expertLoad(30, 480, new ExpertLoad(List.of(layer)));
      expected.scalar("moe/max-mean-expert-load_layer_7", 3, 30);
      expected.scalar("moe/expert-load-cv_layer_7", Math.sqrt(1.5), 30);
      expected.scalar("moe/dropped-share_layer_7", 0.2, 30);
      expected.scalar("moe/load_balancing_loss_layer_7", 1.25, 30);
      expected.scalar("moe/router-entropy_layer_7", 0.75, 30);
      expected.histogram("moe/expert-load_layer_7", new double[] {3, 1, 0, 0}, 30);
      assertEquals(texts(writer.file()), texts(expected.file()));
    }
  }

  private static List<String> texts(Path file) throws IOException {
    return payloads(file).stream()
        .map(payload -> new String(payload, StandardCharsets.ISO_8859_1))
        .toList();
  }

  @Test
  public void twoWritersInOneSecondHaveAFileEach() throws IOException {
    Clock clock = Clock.fixed(Instant.ofEpochSecond(1_700_000_000), ZoneOffset.UTC);
    try (TensorBoardWriter first = new TensorBoardWriter(directory, clock);
        TensorBoardWriter second = new TensorBoardWriter(directory, clock)) {
      assertEquals(payloads(first.file()).size(), 1);
      assertEquals(payloads(second.file()).size(), 1);
      assertTrue(!first.file().equals(second.file()));
    }
  }
}
