package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import moe4j.checkpoint.DirectoryLock.Times;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class DirectoryLockTest {
  private static final Times QUICK =
      new Times(Duration.ofMillis(40), Duration.ofMillis(400), Duration.ofSeconds(2));

  /** No sign of life is due while a test runs. */
  private static final Times SLOW =
      new Times(Duration.ofHours(1), Duration.ofHours(1), Duration.ofHours(2));

  private final List<String> said = new ArrayList<>();
  private Path directory;

  /** Another process: takes the directory, says so, and stays until it is ended. */
  static final class Holder {
    private Holder() {}

    public static void main(String[] args) throws Exception {
      try (DirectoryLock lock =
          DirectoryLock.take(
              Path.of(args[0]), "--save", "", Times.USUAL, said -> System.out.println(said))) {
        System.out.println("held " + lock.before().isPresent());
        System.in.read();
      }
    }
  }

  @BeforeMethod
  public void makeDirectory() throws IOException {
    directory = Files.createTempDirectory("lock");
    said.clear();
  }

  @AfterMethod
  public void deleteDirectory() throws IOException {
    Disk.deleteTree(directory);
  }

  private DirectoryLock take(Times times) throws IOException {
    return DirectoryLock.take(directory, "--save", "", times, said::add);
  }

  private Process holder() throws IOException {
    Process process =
        new ProcessBuilder(
                ProcessHandle.current().info().command().orElseThrow(),
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty(
                    "surefire.test.class.path", System.getProperty("java.class.path")),
                Holder.class.getName(),
                directory.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    BufferedReader out =
        new BufferedReader(
            new java.io.InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    assertEquals(out.readLine(), "held false");
    return process;
  }

  @Test
  public void anotherProcessIsToldWhoHoldsItAndAKilledOneIsNoObstacle() throws Exception {
    Process other = holder();
    try {
      String refused = expectThrows(IOException.class, () -> take(SLOW)).getMessage();
      LockOwner owner = LockOwner.in(directory).orElseThrow();
      assertEquals(owner.pid(), other.pid());
      assertTrue(owner.seemsAlive(directory));
      assertTrue(
          refused.startsWith(
              "--save %s is in use by process %d on %s (user "
                  .formatted(directory, other.pid(), owner.host())),
          refused);
    } finally {
      other.destroyForcibly().waitFor();
    }
    // Its file says that it has the directory; the system knows better, and nobody waits.
    assertFalse(LockOwner.in(directory).orElseThrow().released());
    assertFalse(LockOwner.in(directory).orElseThrow().seemsAlive(directory));
    try (DirectoryLock lock = take(SLOW)) {
      assertEquals(lock.before().orElseThrow().pid(), other.pid());
      assertEquals(LockOwner.in(directory).orElseThrow().pid(), ProcessHandle.current().pid());
    }
    assertTrue(LockOwner.in(directory).orElseThrow().released());
    assertEquals(said, List.of());
  }

  @Test
  public void oneProcessHasItOnce() throws IOException {
    try (DirectoryLock first = take(SLOW)) {
      first.claim();
      Path other = directory.resolve("..").resolve(directory.getFileName());
      expectThrows(
          IOException.class, () -> DirectoryLock.take(other, "--save", "", SLOW, said::add));
      assertFalse(first.check());
    }
    try (DirectoryLock second = take(SLOW)) {
      assertTrue(second.before().orElseThrow().claimed());
    }
  }

  /** As on a file system that keeps locks to one machine: the count alone tells. */
  private LockOwner elsewhere() throws IOException {
    LockOwner owner =
        new LockOwner("t", "elsewhere", "b", 7, "anna", "2026-01-02T03:04:05Z", "", true, 0, false);
    owner.write(directory);
    return owner;
  }

  @Test
  public void anotherMachinesIsTakenWhereItShowsNoSignOfLife() throws IOException {
    elsewhere();
    try (DirectoryLock lock = take(QUICK)) {
      assertEquals(lock.before().orElseThrow().host(), "elsewhere");
      assertTrue(LockOwner.in(directory).orElseThrow().isOfThisMachine());
    }
    assertEquals(said.size(), 1);
    assertTrue(said.get(0).contains("process 7 on elsewhere (user anna, since "), said.get(0));
  }

  @Test
  public void anotherMachinesIsLeftAloneWhereItLives() throws Exception {
    LockOwner owner = elsewhere();
    AtomicBoolean over = new AtomicBoolean();
    Thread beats =
        new Thread(
            () -> {
              try {
                LockOwner now = owner;
                while (!over.get()) {
                  now = now.next();
                  now.write(directory);
                  Thread.sleep(5);
                }
              } catch (IOException | InterruptedException e) {
                throw new AssertionError(e);
              }
            });
    beats.start();
    try {
      String refused = expectThrows(IOException.class, () -> take(QUICK)).getMessage();
      assertTrue(refused.contains("is in use by process 7 on elsewhere"), refused);
    } finally {
      over.set(true);
      beats.join();
    }
    assertEquals(LockOwner.in(directory).orElseThrow().host(), "elsewhere");
  }

  @Test
  public void aRemovedDirectoryIsMadeAndTakenAgain() throws IOException {
    try (DirectoryLock lock = take(SLOW)) {
      Disk.deleteTree(directory);
      assertTrue(lock.check());
      assertFalse(lock.check());
      assertEquals(LockOwner.in(directory).orElseThrow().pid(), ProcessHandle.current().pid());
    }
    assertTrue(LockOwner.in(directory).orElseThrow().released());
  }

  @Test
  public void whoHasLostItIsTold() throws IOException {
    try (DirectoryLock lock = take(SLOW)) {
      elsewhere();
      String lost = expectThrows(DirectoryLock.TakenOverException.class, lock::check).getMessage();
      assertTrue(
          lost.startsWith(
              "--save %s was taken over by process 7 on elsewhere".formatted(directory)),
          lost);
    }
    // Giving back what one no longer has changes nothing.
    assertEquals(LockOwner.in(directory).orElseThrow().host(), "elsewhere");
  }

  @Test
  public void theOwnersCountGoesUp() throws Exception {
    try (DirectoryLock lock = take(QUICK)) {
      while (LockOwner.in(directory).orElseThrow().beat() < 2) {
        Thread.onSpinWait();
      }
      assertFalse(lock.check());
    }
  }
}
