package moe4j.checkpoint;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/**
 * The right to save into a directory, which one process at a time has.
 *
 * <p>Two things make it up. {@code run.lock} is an empty file that the owner holds a lock of the
 * operating system's on: it ends with the owner, however that ends, and on one machine nothing else
 * is needed. {@code run.owner} says who that is, with a count that goes up as long as the owner
 * lives: for people, and for file systems that keep locks to one machine or have none. What another
 * machine's process left there holds as long as its count goes up.
 *
 * <p>The two are apart since a process that closes any handle of a locked file gives up its lock on
 * many systems: nobody reads {@code run.lock}.
 */
public final class DirectoryLock implements AutoCloseable {
  private static final String FILE = "run.lock";

  /** The directories that this process holds. */
  private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

  /**
   * How long things take.
   *
   * @param beat between two signs of life
   * @param dead how long an owner may give no sign of life before it counts as dead
   * @param patience how long a lock is asked for whose owner shows no sign of life: a file server
   *     may keep a dead machine's for a while
   */
  public record Times(Duration beat, Duration dead, Duration patience) {
    /** What a run uses. */
    public static final Times USUAL =
        new Times(Duration.ofSeconds(15), Duration.ofSeconds(60), Duration.ofSeconds(180));
  }

  /** Another process has the directory now. */
  public static final class TakenOverException extends IOException {
    private static final long serialVersionUID = 1;

    TakenOverException(String message) {
      super(message);
    }
  }

  private final Path directory;
  private final String flag;
  private final Times times;
  private final Consumer<String> say;
  private final Path key;
  private final Thread heart;
  private FileChannel channel;
  private Attempt last;
  private Object file;
  private LockOwner owner;
  private Optional<LockOwner> before;
  private boolean lost;
  private boolean closed;

  private DirectoryLock(
      Path directory, String flag, String launch, Times times, Consumer<String> say)
      throws IOException {
    this.directory = directory;
    this.flag = flag;
    this.times = times;
    this.say = say;
    this.key = directory.toRealPath();
    this.owner = LockOwner.here(launch);
    this.heart = new Thread(this::live, "lock of " + directory);
    heart.setDaemon(true);
  }

  /**
   * Takes a directory, which exists.
   *
   * @param flag what the directory is called in sentences, such as {@code --save}
   * @param launch the name of the job that this process belongs to; may be empty
   * @param say told, a sentence each, what is waited for
   * @throws IOException where another has it: one sentence with its host, its process and since
   *     when
   */
  public static DirectoryLock take(
      Path directory, String flag, String launch, Times times, Consumer<String> say)
      throws IOException {
    DirectoryLock lock = new DirectoryLock(directory, flag, launch, times, say);
    if (!HELD.add(lock.key)) {
      throw lock.inUse(LockOwner.in(directory), "");
    }
    try {
      lock.take();
    } catch (IOException | RuntimeException | Error e) {
      lock.giveUpChannel();
      HELD.remove(lock.key);
      throw e;
    }
    lock.heart.start();
    return lock;
  }

  /** Who saved here before; empty if no process did, or if its record cannot be read. */
  public Optional<LockOwner> before() {
    return before;
  }

  /** From now on, what is saved here is this owner's. */
  public synchronized void claim() throws IOException {
    owner = owner.claiming();
    owner.write(directory);
  }

  private void take() throws IOException {
    Optional<LockOwner> seen = LockOwner.in(directory);
    before = seen;
    long began = System.nanoTime();
    long changed = began;
    boolean told = false;
    while (true) {
      Attempt attempt = attempt();
      boolean silent = System.nanoTime() - changed >= times.dead().toNanos();
      boolean doubtful = seen.isPresent() && mayLive(seen.get(), attempt);
      if (attempt != Attempt.REFUSED && (!doubtful || silent)) {
        owner.write(directory);
        if (doubtful) {
          settle();
        }
        return;
      }
      if (attempt == Attempt.REFUSED && !isWorthWaiting(seen)) {
        throw inUse(seen, "");
      }
      if (System.nanoTime() - began >= times.patience().toNanos()) {
        throw inUse(seen, ", which gives no sign of life but still has the lock on " + FILE);
      }
      if (!told) {
        told = true;
        say.accept(
            "%s %s was last taken by %s: waiting up to %d seconds to see whether it lives"
                .formatted(flag, directory, seen.get().describe(), times.patience().toSeconds()));
      }
      pause(times.beat().dividedBy(2));
      Optional<LockOwner> now = LockOwner.in(directory);
      if (!now.equals(seen)) {
        if (now.isPresent() && !now.get().released()) {
          throw inUse(now, "");
        }
        seen = now;
        changed = System.nanoTime();
      }
    }
  }

  /** Whether an owner may be at work though the system gave or could not give us the lock. */
  private static boolean mayLive(LockOwner owner, Attempt attempt) {
    return !owner.released() && (attempt == Attempt.UNSUPPORTED || !owner.isOfThisMachine());
  }

  /**
   * Whether a lock that was refused may belong to a process that has ended. This machine's locks
   * end with their owners, but a file server may keep another machine's for a while, and a process
   * of the same job may still be ending.
   */
  private boolean isWorthWaiting(Optional<LockOwner> seen) {
    return seen.isPresent()
        && (!seen.get().isOfThisMachine()
            || (!owner.launch().isEmpty() && owner.launch().equals(seen.get().launch())));
  }

  private enum Attempt {
    LOCKED,
    REFUSED,
    /** The file system has no locks. */
    UNSUPPORTED
  }

  private Attempt attempt() throws IOException {
    if (channel != null && channel.isOpen()) {
      return last;
    }
    last = tryLock();
    return last;
  }

  private Attempt tryLock() throws IOException {
    Path path = directory.resolve(FILE);
    channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    file = fileKey(path);
    FileLock lock;
    try {
      lock = channel.tryLock();
    } catch (OverlappingFileLockException e) {
      lock = null;
    } catch (IOException e) {
      return Attempt.UNSUPPORTED;
    }
    if (lock == null) {
      giveUpChannel();
      return Attempt.REFUSED;
    }
    return Attempt.LOCKED;
  }

  private void giveUpChannel() throws IOException {
    if (channel != null) {
      channel.close();
      channel = null;
    }
  }

  /**
   * Two processes that find the directory of one that has ended may both take it: the one that
   * wrote last has it.
   */
  private void settle() throws IOException {
    pause(times.beat());
    Optional<LockOwner> now = LockOwner.in(directory);
    if (now.isPresent() && !now.get().is(owner)) {
      throw inUse(now, "");
    }
  }

  private static void pause(Duration duration) throws IOException {
    try {
      Thread.sleep(duration.toMillis());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while waiting for a lock", e);
    }
  }

  private IOException inUse(Optional<LockOwner> by, String more) {
    return new IOException(
        ("%s %s is in use by %s%s: two runs would destroy each other's checkpoints; wait for that"
                + " one, stop it, or name another directory")
            .formatted(
                flag, directory, by.map(LockOwner::describe).orElse("another process"), more));
  }

  private TakenOverException takenOver(Optional<LockOwner> by) {
    return new TakenOverException(
        "%s %s was taken over by %s: this run can save nothing more there"
            .formatted(flag, directory, by.map(LockOwner::describe).orElse("another process")));
  }

  private void live() {
    while (true) {
      try {
        Thread.sleep(times.beat().toMillis());
        if (!beat()) {
          return;
        }
      } catch (InterruptedException e) {
        return;
      } catch (IOException e) {
        // A full disk or a server that is away: the next beat may get through.
      }
    }
  }

  private synchronized boolean beat() throws IOException {
    if (closed || lost) {
      return false;
    }
    if (!Files.exists(directory.resolve(FILE))) {
      // The next check of the directory finds out, and says so.
      return true;
    }
    Optional<LockOwner> now = LockOwner.in(directory);
    if (now.isPresent() && !now.get().is(owner)) {
      lost = true;
      return false;
    }
    owner = owner.next();
    owner.write(directory);
    return true;
  }

  /**
   * Makes sure that the directory is still this process's. Where it was removed, it is made again
   * and taken again.
   *
   * @return whether it had been removed
   * @throws TakenOverException where another has it now
   */
  public synchronized boolean check() throws IOException {
    Path path = directory.resolve(FILE);
    boolean removed = !Objects.equals(fileKey(path), file);
    if (removed) {
      giveUpChannel();
      Disk.createDirectories(directory);
      if (attempt() == Attempt.REFUSED) {
        throw takenOver(LockOwner.in(directory));
      }
    }
    Optional<LockOwner> now = LockOwner.in(directory);
    if (lost || (now.isPresent() && !now.get().is(owner))) {
      throw takenOver(now);
    }
    if (now.isEmpty()) {
      owner.write(directory);
    }
    return removed;
  }

  /** Which file a path leads to; null where no file is there. */
  private static Object fileKey(Path path) throws IOException {
    try {
      Object key =
          Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
              .fileKey();
      // Windows has no such key, but does not remove files that are open either.
      return key == null ? path : key;
    } catch (NoSuchFileException e) {
      return null;
    }
  }

  /** Gives the directory back. */
  @Override
  public void close() throws IOException {
    heart.interrupt();
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
      try {
        Optional<LockOwner> now = LockOwner.in(directory);
        if (now.isPresent() && now.get().is(owner)) {
          owner.releasing().write(directory);
        }
      } finally {
        giveUpChannel();
        HELD.remove(key);
      }
    }
  }
}
