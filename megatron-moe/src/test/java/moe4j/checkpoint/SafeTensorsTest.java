package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class SafeTensorsTest {
  /**
   * What Python's safetensors 0.8.0 writes for n = int64 [[7], [-1]], w = float32 arange(6) - 2.5
   * as [2, 3], e = int32 of shape [0, 4], s = float16 scalar 1.5, m = bool [1, 0, 1], with
   * metadata.
   */
  private static final byte[] GOLDEN =
      HexFormat.of()
          .parseHex(
              "38010000000000007b225f5f6d657461646174615f5f223a7b22666f726d6174223a227074227d2c22"
                  + "6e223a7b226474797065223a22493634222c227368617065223a5b322c315d2c22646174615f6f"
                  + "666673657473223a5b302c31365d7d2c2277223a7b226474797065223a22463332222c22736861"
                  + "7065223a5b322c335d2c22646174615f6f666673657473223a5b31362c34305d7d2c2265223a7b"
                  + "226474797065223a22493332222c227368617065223a5b302c345d2c22646174615f6f66667365"
                  + "7473223a5b34302c34305d7d2c2273223a7b226474797065223a22463136222c22736861706522"
                  + "3a5b5d2c22646174615f6f666673657473223a5b34302c34325d7d2c226d223a7b226474797065"
                  + "223a22424f4f4c222c227368617065223a5b335d2c22646174615f6f666673657473223a5b3432"
                  + "2c34355d7d7d0700000000000000ffffffffffffffff000020c00000c0bf000000bf0000003f00"
                  + "00c03f00002040003e010001");

  private final Random random = Seeds.random(SafeTensorsTest.class);
  private Path directory;

  @BeforeClass
  public void create() throws IOException {
    directory = Samples.directory();
  }

  @AfterClass(alwaysRun = true)
  public void delete() throws IOException {
    Disk.deleteTree(directory);
  }

  @Test
  public void readsWhatPythonWrote() throws IOException {
    Path file = Files.write(directory.resolve("golden.safetensors"), GOLDEN);
    try (SafeTensorsReader reader = SafeTensorsReader.open(file)) {
      assertEquals(reader.metadata(), Map.of("format", "pt"));
      assertEquals(
          List.copyOf(reader.tensors().values()),
          List.of(
              StoredTensor.of("n", Dtype.I64, 2L, 1L),
              StoredTensor.of("w", Dtype.F32, 2L, 3L),
              StoredTensor.of("e", Dtype.I32, 0L, 4L),
              StoredTensor.of("s", Dtype.F16),
              StoredTensor.of("m", Dtype.BOOL, 3L)));
      assertEquals(read(reader, "n").getLong(8), -1);
      ByteBuffer w = read(reader, "w");
      for (int i = 0; i < 6; i++) {
        assertEquals(w.getFloat(4 * i), i - 2.5f);
      }
      assertEquals(read(reader, "e").remaining(), 0);
      assertEquals(read(reader, "s").getShort(), (short) 0x3e00);
      assertEquals(read(reader, "m").array(), new byte[] {1, 0, 1});
    }
  }

  /** Given the same tensors in the same order we write the same bytes. */
  @Test
  public void writesWhatPythonWrote() throws IOException {
    Path golden = Files.write(directory.resolve("theirs.safetensors"), GOLDEN);
    Path ours = directory.resolve("ours.safetensors");
    try (SafeTensorsReader reader = SafeTensorsReader.open(golden);
        SafeTensorsWriter writer =
            new SafeTensorsWriter(
                ours, List.copyOf(reader.tensors().values()), reader.metadata())) {
      for (String name : reader.tensors().keySet()) {
        ByteBuffer bytes = read(reader, name);
        writer.write(name, sink -> sink.write(bytes));
      }
      writer.finish();
      assertEquals(writer.bytes(), GOLDEN.length);
      assertEquals(writer.checksum(), Checksum.of(GOLDEN));
      assertEquals(reader.checksum(), Checksum.of(GOLDEN));
    }
    assertEquals(Files.readAllBytes(ours), GOLDEN);
  }

  @Test
  public void randomTensorsComeBack() throws IOException {
    for (int round = 0; round < 20; round++) {
      Path file = directory.resolve("random" + round);
      List<Samples.Filled> tensors = Samples.filled(random, "tensor\u00e9 \"", 12);
      write(file, tensors);
      byte[] written = Files.readAllBytes(file);
      long header = ByteBuffer.wrap(written).order(ByteOrder.LITTLE_ENDIAN).getLong();
      assertEquals(header % 8, 0);
      try (SafeTensorsReader reader = SafeTensorsReader.open(file)) {
        for (Samples.Filled each : tensors) {
          assertEquals(reader.tensors().get(each.tensor().name()), each.tensor());
          assertEquals(read(reader, each.tensor().name()).array(), each.bytes());
          Slice slice = Samples.slice(random, each.tensor().shape());
          ByteBuffer part = ByteBuffer.allocate(each.part(slice).length);
          reader.read(each.tensor().name(), slice, part);
          assertEquals(part.array(), each.part(slice));
        }
      }
    }
  }

  /** Large enough for reads in parts, for long runs, and for short ones through the window. */
  @Test
  public void slicesOfALargeTensorComeBack() throws IOException {
    Path file = directory.resolve("large");
    Samples.Filled large = Samples.filled(random, "w", Dtype.F32, List.of(1500L, 1000L));
    write(file, List.of(Samples.filled(random, "a", Dtype.U8, List.of(5L)), large));
    try (SafeTensorsReader reader = SafeTensorsReader.open(file)) {
      long[][] slices = {
        {0, 0, 1500, 1000},
        {0, 300, 1500, 500},
        {7, 990, 1480, 10},
        {1, 1, 1499, 1},
        {9, 0, 80, 1000}
      };
      for (long[] s : slices) {
        Slice slice = Slice.of(new long[] {s[0], s[1]}, new long[] {s[2], s[3]});
        ByteBuffer target = ByteBuffer.allocateDirect((int) slice.volume() * 4);
        reader.read("w", slice, target);
        assertEquals(target.flip(), ByteBuffer.wrap(large.part(slice)), slice.toString());
      }
    }
  }

  /** A sparse file of 5 GiB: offsets beyond what 31 and 32 bits hold. */
  @Test
  public void readsFarBeyondTwoGibibytes() throws IOException {
    Path file = directory.resolve("sparse");
    long rows = 5L << 20;
    StoredTensor tensor = StoredTensor.of("w", Dtype.U8, rows, 1024L);
    ByteBuffer header = SafeTensors.encode(List.of(tensor), Map.of());
    long start = header.remaining();
    byte[] row = new byte[1024];
    random.nextBytes(row);
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      channel.write(header);
      channel.write(ByteBuffer.wrap(row), start + (rows - 1) * 1024);
    }
    try (SafeTensorsReader reader = SafeTensorsReader.open(file)) {
      ByteBuffer last = ByteBuffer.allocate(500);
      reader.read("w", Slice.of(new long[] {rows - 1, 24}, new long[] {1, 500}), last);
      assertEquals(last.array(), Arrays.copyOfRange(row, 24, 524));
      List<Slice> chunks = Slice.whole(tensor.shape()).chunks(1 << 30);
      assertEquals(chunks.size(), 5);
      assertEquals(chunks.get(4).offset(), List.of(4L << 20, 0L));
    } finally {
      Files.delete(file);
    }
  }

  @Test
  public void contentMayComeInPieces() throws IOException {
    Path file = directory.resolve("pieces");
    Samples.Filled filled = Samples.filled(random, "w", Dtype.F64, List.of(100_000L));
    try (SafeTensorsWriter writer =
        new SafeTensorsWriter(file, List.of(filled.tensor()), Map.of())) {
      writer.write(
          "w",
          sink -> {
            for (int at = 0, length; at < filled.bytes().length; at += length) {
              length = Math.min(1 + random.nextInt(600_000), filled.bytes().length - at);
              ByteBuffer piece = ByteBuffer.wrap(filled.bytes(), at, length);
              sink.write(piece);
              assertEquals(piece.position(), at);
            }
          });
      writer.finish();
    }
    try (SafeTensorsReader reader = SafeTensorsReader.open(file)) {
      assertEquals(read(reader, "w"), filled.buffer());
    }
  }

  @Test
  public void everyTruncationIsRecognised() throws IOException {
    for (int length = 0; length < GOLDEN.length; length++) {
      refused(Arrays.copyOf(GOLDEN, length));
    }
    refused(Arrays.copyOf(GOLDEN, GOLDEN.length + 1));
  }

  @DataProvider
  public Object[][] headers() {
    return new Object[][] {
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,-4]}}", 0},
      {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}}", 1},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,8]}}", 4},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}", 1},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1},
      {"{\"a\":7}", 0},
      {"{\"__metadata__\":7}", 0},
      {"[]", 0},
      {" {}", 0},
      {"{} x", 0},
      {"{\"a\"", 0},
      {
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            + "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
        2
      },
      {
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
            + "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
        3
      },
    };
  }

  @Test(dataProvider = "headers")
  public void falseHeadersAreRefused(String header, int dataBytes) throws IOException {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    refused(
        ByteBuffer.allocate(8 + text.length + dataBytes)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(text.length)
            .put(text)
            .array());
  }

  @Test
  public void writerHoldsTheCallerToTheHeader() throws IOException {
    List<StoredTensor> tensors =
        List.of(StoredTensor.of("a", Dtype.U8, 2L), StoredTensor.of("b", Dtype.U8, 2L));
    int[] attempt = {0};
    List<TensorSource.Content> wrong =
        List.of(sink -> {}, sink -> sink.write(ByteBuffer.allocate(3)));
    for (TensorSource.Content content : wrong) {
      Path file = directory.resolve("held" + attempt[0]++);
      try (SafeTensorsWriter writer = new SafeTensorsWriter(file, tensors, Map.of())) {
        assertThrows(IllegalStateException.class, () -> writer.write("b", content));
        assertThrows(IllegalStateException.class, () -> writer.write("a", content));
        assertThrows(IllegalStateException.class, writer::finish);
      }
    }
    assertThrows(
        IllegalArgumentException.class,
        () ->
            new SafeTensorsWriter(
                directory.resolve("twice"), List.of(tensors.get(0), tensors.get(0)), Map.of()));
    assertThrows(IllegalArgumentException.class, () -> StoredTensor.of("", Dtype.U8));
  }

  private void refused(byte[] bytes) throws IOException {
    Path file = Files.write(directory.resolve("refused"), bytes);
    IOException refusal =
        expectThrows(IOException.class, () -> SafeTensorsReader.open(file).close());
    assertTrue(refusal.getMessage().startsWith(file.toString()), refusal.getMessage());
  }

  private static void write(Path file, List<Samples.Filled> tensors) throws IOException {
    List<StoredTensor> stored = new ArrayList<>();
    tensors.forEach(each -> stored.add(each.tensor()));
    try (SafeTensorsWriter writer = new SafeTensorsWriter(file, stored, Map.of())) {
      for (Samples.Filled each : tensors) {
        writer.write(each.tensor().name(), sink -> sink.write(each.buffer()));
      }
      writer.finish();
    }
  }

  private static ByteBuffer read(SafeTensorsReader reader, String name) throws IOException {
    StoredTensor tensor = reader.tensors().get(name);
    ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    reader.read(name, Slice.whole(tensor.shape()), bytes);
    return bytes.flip();
  }
}
