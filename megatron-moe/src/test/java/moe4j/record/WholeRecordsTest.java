package moe4j.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.training.record.FullChannel;
import moe4j.training.record.MadeUpRun;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class WholeRecordsTest {
  private final Random random = Seeds.random(WholeRecordsTest.class);
  private Path file;
  private FullChannel disk;
  private WholeRecords records;

  @BeforeMethod
  public void open() throws IOException {
    file = Files.createTempDirectory("records").resolve("records.txt");
    Files.writeString(file, "before\n");
    disk =
        new FullChannel(
            FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND));
    records = new WholeRecords(file, disk);
  }

  @AfterMethod
  public void delete() throws IOException {
    records.close();
    MadeUpRun.delete(file.getParent());
  }

  private void append(String text) throws IOException {
    records.append(text.getBytes(StandardCharsets.UTF_8));
  }

  private void refused(String text) {
    IOException refused = expectThrows(IOException.class, () -> append(text));
    assertEquals(refused.getMessage(), file + ": No space left on device");
  }

  /** However much of a record fits, none of it stays, and the next one follows the last whole. */
  @Test
  public void aFullDiskLeavesWholeRecords() throws IOException {
    String lost = "a record that does not fit\n";
    String there = "before\n";
    for (int i = 0; i < 20; i++) {
      disk.room = random.nextInt(lost.length());
      refused(lost);
      refused(lost);
      assertEquals(Files.readString(file), there);
      disk.room = Long.MAX_VALUE;
      String next = "record " + i + "\n";
      append(next);
      there += next;
      assertEquals(Files.readString(file), there);
    }
  }

  /** What could not be taken back at once is, before anything else is written. */
  @Test
  public void tornRecordsAreTakenBackLater() throws IOException {
    disk.room = 5;
    disk.truncates = false;
    refused("torn record\n");
    assertEquals(Files.readString(file), "before\ntorn ");
    disk.room = Long.MAX_VALUE;
    disk.truncates = true;
    append("next\n");
    assertEquals(Files.readString(file), "before\nnext\n");
  }
}
