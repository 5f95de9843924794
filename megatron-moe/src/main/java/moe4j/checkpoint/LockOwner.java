package moe4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Optional;
import java.util.UUID;

/**
 * Who saves into a directory, or did last: what {@code run.owner} in it says.
 *
 * @param token tells this owner from all others
 * @param host the machine's name
 * @param boot tells one running machine from another of its name; empty where it cannot
 * @param pid its process
 * @param user whose process it is
 * @param since when it took the directory, ISO-8601
 * @param launch the name that a launcher gives all the processes of a job, started again or not;
 *     may be empty
 * @param claimed whether what has been saved since is its own
 * @param beat goes up as long as it lives
 * @param released whether it has given the directory back
 */
public record LockOwner(
    String token,
    String host,
    String boot,
    long pid,
    String user,
    String since,
    String launch,
    boolean claimed,
    long beat,
    boolean released) {

  static final String FILE = "run.owner";

  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss", Locale.ROOT);

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
          .build();

  /** This process. */
  static LockOwner here(String launch) {
    return new LockOwner(
        UUID.randomUUID().toString(),
        hostName(),
        bootId(),
        ProcessHandle.current().pid(),
        System.getProperty("user.name", "?"),
        Instant.now().toString(),
        launch,
        false,
        0,
        false);
  }

  private static String hostName() {
    try {
      return InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException e) {
      // A machine whose own name does not resolve can train all the same.
      return "localhost";
    }
  }

  /** Linux numbers its boots; other systems go by the host's name alone. */
  private static String bootId() {
    try {
      return Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    } catch (IOException e) {
      return "";
    }
  }

  /**
   * Reads who saves into a directory, or did last.
   *
   * @return empty where nobody has, or the file says nothing that can be read
   * @throws IOException where the file cannot be read at all: one sentence that names it
   */
  public static Optional<LockOwner> in(Path directory) throws IOException {
    Path file = directory.resolve(FILE);
    if (Files.isDirectory(file)) {
      throw new IOException(
          file + " is a directory, where the run writes who saves here: move it away");
    }
    try {
      // JSON's null names no owner.
      return Optional.ofNullable(JSON.readValue(Files.readAllBytes(file), LockOwner.class));
    } catch (NoSuchFileException | JsonProcessingException e) {
      return Optional.empty();
    }
  }

  /** Writes it into a directory; a reader sees the old words or the new ones. */
  void write(Path directory) throws IOException {
    Path beside = directory.resolve(FILE + "." + token + ".tmp");
    try {
      Files.write(beside, JSON.writeValueAsBytes(this));
      Files.move(
          beside,
          directory.resolve(FILE),
          StandardCopyOption.ATOMIC_MOVE,
          StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(beside);
    }
  }

  boolean is(LockOwner other) {
    return token.equals(other.token);
  }

  LockOwner next() {
    return with(claimed, beat + 1, released);
  }

  LockOwner claiming() {
    return with(true, beat, released);
  }

  LockOwner releasing() {
    return with(claimed, beat, true);
  }

  private LockOwner with(boolean nowClaimed, long nowBeat, boolean nowReleased) {
    return new LockOwner(
        token, host, boot, pid, user, since, launch, nowClaimed, nowBeat, nowReleased);
  }

  /** Whether its process is or was one of this machine's, since it was switched on. */
  boolean isOfThisMachine() {
    return host.equals(hostName()) && boot.equals(bootId());
  }

  /**
   * Whether its process is at work, as far as this machine can tell without a lock: one of its own
   * by its number, one of another's by when the file was last written.
   */
  public boolean seemsAlive(Path directory) throws IOException {
    if (released) {
      return false;
    }
    if (isOfThisMachine()) {
      return ProcessHandle.of(pid).map(ProcessHandle::isAlive).orElse(false);
    }
    Instant written = Files.getLastModifiedTime(directory.resolve(FILE)).toInstant();
    return written.isAfter(Instant.now().minus(DirectoryLock.Times.USUAL.dead()));
  }

  /** Such as {@code process 4711 on node3 (user anna, since 2026-11-30 05:50:00)}. */
  public String describe() {
    return "process %d on %s (user %s, since %s)".formatted(pid, host, user, localSince());
  }

  /** The moment in this machine's time zone; as it stands where it is no moment. */
  private String localSince() {
    try {
      return TIME.format(Instant.parse(since).atZone(ZoneId.systemDefault()));
    } catch (DateTimeException e) {
      return since;
    }
  }
}
