package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.testng.SkipException;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** What the processes of a run on one host listen at: its address for itself, and no other. */
public class OpenDoorsTest {
  private static final long PATIENCE_SECONDS = 120;
  private static final int RANKS = 2;

  private Workspace workspace;

  @BeforeMethod
  public void open() {
    if (!Files.exists(Path.of("/proc/net/tcp"))) {
      throw new SkipException("this system does not say which socket is whose");
    }
    workspace = new Workspace();
  }

  @AfterMethod(alwaysRun = true)
  public void close() throws IOException {
    if (workspace != null) {
      workspace.close();
    }
  }

  @Test
  public void ranksOfOneHostListenToItAlone() throws Exception {
    Path run = workspace.path("run");
    Path log = workspace.path("log");
    List<String> line =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --mock-data"
                + " --tokenizer-type NullTokenizer --vocab-size 60 --eval-iters 0 --log-interval 1"
                + " --num-threads 1 --train-iters 1000000 --metrics-dir",
            run);
    List<String> launch =
        new ArrayList<>(Cli.arguments("launch --nproc-per-node " + RANKS + " --"));
    launch.addAll(Cli.line(line));
    Process process = Cli.start(launch, log);
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
      // All that a run opens is open once it steps.
      while (!stepped(run)) {
        assertTrue(process.isAlive(), Files.readString(log));
        assertTrue(System.nanoTime() < end, Files.readString(log));
        Thread.sleep(5);
      }
      List<ProcessHandle> ranks = process.descendants().toList();
      assertEquals(ranks.size(), RANKS);
      for (ProcessHandle rank : ranks) {
        List<String> addresses = listening(rank.pid());
        assertTrue(!addresses.isEmpty(), "Gloo listens: " + Files.readString(log));
        assertEquals(new TreeSet<>(addresses), Set.of("0100007F"), "127.0.0.1 in the kernel's way");
      }
      assertEquals(listening(process.pid()), List.of(), "the launcher listens to nobody");
    } finally {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
  }

  private static boolean stepped(Path run) {
    try {
      return !RunRecord.of(run).steps().isEmpty();
    } catch (IOException e) {
      return false;
    }
  }

  /** The addresses that a process listens at, as the kernel writes them. */
  private static List<String> listening(long pid) throws IOException {
    Set<String> own = new HashSet<>();
    try (Stream<Path> descriptors = Files.list(Path.of("/proc/%d/fd".formatted(pid)))) {
      for (Path descriptor : descriptors.toList()) {
        try {
          own.add(Files.readSymbolicLink(descriptor).toString());
        } catch (NoSuchFileException e) {
          // Closed while we looked: a file's, the sockets stay.
        }
      }
    }
    List<String> addresses = new ArrayList<>();
    for (String table : List.of("tcp", "tcp6")) {
      for (String line : Files.readAllLines(Path.of("/proc/%d/net/%s".formatted(pid, table)))) {
        String[] words = line.strip().split("\\s+");
        if (words[3].equals("0A") && own.contains("socket:[" + words[9] + "]")) {
          // Through IPv6 an address of IPv4 has a prefix.
          addresses.add(words[1].replaceFirst(":.*", "").replaceFirst("^0{16}FFFF0000", ""));
        }
      }
    }
    return addresses;
  }
}
