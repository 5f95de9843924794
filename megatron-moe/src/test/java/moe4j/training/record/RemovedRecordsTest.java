package moe4j.training.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import moe4j.record.WholeRecords;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** A record whose directory is removed while it is written has all of it in the end. */
public class RemovedRecordsTest {
  private Path root;
  private Path file;
  private WholeRecords records;

  @BeforeMethod
  public void open() throws IOException {
    root = Files.createTempDirectory("removed");
    file = Files.createDirectories(root.resolve("run/records")).resolve("records.txt");
    Files.writeString(file, "before\n");
    records =
        new WholeRecords(
            file, FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND));
    append("one\n");
  }

  @AfterMethod
  public void delete() throws IOException {
    records.close();
    MadeUpRun.delete(root);
  }

  private void append(String text) throws IOException {
    records.append(text.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  public void aRemovedDirectoryIsMadeAgain() throws IOException {
    for (String next : new String[] {"two\n", "three\n"}) {
      MadeUpRun.delete(root.resolve("run"));
      append(next);
    }
    assertEquals(Files.readString(file), "before\none\ntwo\nthree\n");
    append("four\n");
    assertEquals(Files.readString(file), "before\none\ntwo\nthree\nfour\n");
    assertFalse(Files.exists(root.resolve("run/records/records.txt.tmp")));
  }

  @Test
  public void aFileInItsPlaceIsKept() throws IOException {
    Files.delete(file);
    Files.writeString(file, "another's\n");
    append("two\n");
    assertEquals(Files.readString(file), "before\none\ntwo\n");
    assertEquals(Files.readString(file.resolveSibling("records.txt.other-1")), "another's\n");
  }
}
