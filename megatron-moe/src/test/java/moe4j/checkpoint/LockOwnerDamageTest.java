package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import moe4j.checkpoint.DirectoryLock.Times;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Whatever somebody wrote into {@code run.owner}, no run is turned away by a library's text. */
public class LockOwnerDamageTest {
  private static final Times QUICK =
      new Times(Duration.ofMillis(20), Duration.ofMillis(60), Duration.ofSeconds(2));

  private final List<String> said = new ArrayList<>();
  private Path directory;

  @BeforeMethod
  public void makeDirectory() throws IOException {
    directory = Files.createTempDirectory("owner");
    said.clear();
  }

  @AfterMethod
  public void deleteDirectory() throws IOException {
    Disk.deleteTree(directory);
  }

  private void take() throws IOException {
    DirectoryLock.take(directory, "--save", "", QUICK, said::add).close();
  }

  @DataProvider
  public Object[][] nobody() {
    return new Object[][] {
      {""}, {"null"}, {"\0\0\0\0"}, {"[]"}, {"{}"}, {"7"}, {"\"a\""}, {"{\"pid\": {}}"}
    };
  }

  @Test(dataProvider = "nobody")
  public void wordsThatNameNobodyAreNobody(String words) throws IOException {
    Files.writeString(directory.resolve(LockOwner.FILE), words);
    assertTrue(LockOwner.in(directory).isEmpty());
    take();
    assertTrue(LockOwner.in(directory).orElseThrow().released());
  }

  @Test
  public void aMomentThatIsNoneIsToldAsItStands() throws IOException {
    new LockOwner("t", "elsewhere", "", 7, "anna", "yesterday", "", true, 0, false)
        .write(directory);
    take();
    assertEquals(said.size(), 1);
    assertTrue(
        said.get(0).contains("process 7 on elsewhere (user anna, since yesterday)"), said.get(0));
  }

  @Test
  public void aDirectoryOfThatNameIsNamed() throws IOException {
    Path file = Files.createDirectory(directory.resolve(LockOwner.FILE));
    IOException refusal = expectThrows(IOException.class, this::take);
    assertEquals(
        refusal.getMessage(),
        file + " is a directory, where the run writes who saves here: move it away");
    Files.delete(file);
    take();
    assertFalse(Files.isDirectory(file));
  }
}
