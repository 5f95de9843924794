package moe4j.training.run;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.DirectoryLock;
import moe4j.config.CheckpointConfig;
import moe4j.model.SaveWords;
import moe4j.model.TrainState;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.step.TrainingListener;

/**
 * The directory that a run saves into: whether it may, from where it starts, and the lock that
 * keeps others away while it does. Rank 0 holds the lock and decides for all.
 */
public final class SaveDirectory implements AutoCloseable {
  private final World world;
  private final Path directory;
  private final Consumer<String> warnings;
  private DirectoryLock lock;
  private SaveRules.Decision decision;

  private SaveDirectory(World world, String save, Consumer<String> warnings) {
    this.world = world;
    this.directory = save == null ? null : Path.of(save);
    this.warnings = warnings;
  }

  /**
   * Takes the directory, before anything else is; all ranks do.
   *
   * @throws IllegalArgumentException on all ranks, where it holds another run's checkpoints
   * @throws IOException on all ranks, where it cannot be written to, or another process has it
   */
  public static SaveDirectory open(
      World world, CheckpointConfig flags, SaveWords words, Consumer<String> warnings)
      throws IOException {
    SaveDirectory save = new SaveDirectory(world, flags.save(), warnings);
    try {
      if (save.directory != null) {
        CheckpointStore.checkWritable(save.directory);
      }
      byte[] told = save.first(() -> encode(save.begin(save.decide(flags, words))));
      save.decision = decode(told);
      return save;
    } catch (IOException | RuntimeException | Error e) {
      save.close();
      throw e;
    }
  }

  private SaveRules.Decision decide(CheckpointConfig flags, SaveWords words) throws IOException {
    if (directory == null) {
      return SaveRules.decide(flags, words, false);
    }
    WorldEnvironment environment = world.environment();
    String launch = launch(environment);
    lock = DirectoryLock.take(directory, words.save(), launch, DirectoryLock.Times.USUAL, warnings);
    boolean own =
        environment.restartCount() > 0
            && lock.before()
                .filter(owner -> owner.claimed() && owner.launch().equals(launch))
                .isPresent();
    return SaveRules.decide(flags, words, own);
  }

  /** A name that all processes of a job share, restarted or not, and no other job has. */
  private static String launch(WorldEnvironment environment) {
    if (environment.masterPort() == 0) {
      // Nobody launched it.
      return "";
    }
    // torchrun says none where it was given no name.
    String id = environment.runId();
    return id.isEmpty() || id.equals("none")
        ? environment.masterAddress() + ":" + environment.masterPort()
        : id;
  }

  /** Moves an older run out of the way and makes the directory this run's. */
  private SaveRules.Decision begin(SaveRules.Decision decided) throws IOException {
    String load = decided.load();
    if (decided.moveAside()) {
      Optional<RunFiles.Moved> moved = RunFiles.moveAside(directory, Instant.now());
      if (moved.isPresent()) {
        warnings.accept(
            "the run that lay in %s lies in %s now; delete it when you do not need it"
                .formatted(directory, moved.get().to()));
        load = load == null ? null : moved.get().now(Path.of(load)).toString();
      }
    }
    if (lock != null) {
      lock.claim();
    }
    return new SaveRules.Decision(load, decided.resume(), decided.moveAside());
  }

  private static byte[] encode(SaveRules.Decision decision) {
    String load = decision.load() == null ? "" : decision.load();
    return ((decision.resume() ? "r" : "-") + load).getBytes(StandardCharsets.UTF_8);
  }

  private static SaveRules.Decision decode(byte[] told) {
    String text = new String(told, StandardCharsets.UTF_8);
    String load = text.substring(1);
    return new SaveRules.Decision(load.isEmpty() ? null : load, text.charAt(0) == 'r', false);
  }

  /** The directory whose newest checkpoint the run starts from; null for none. */
  public String loadFrom() {
    return decision.load();
  }

  /** Whether that is this run, taken up again. */
  public boolean resumes() {
    return decision.resume();
  }

  /**
   * Moves what a run or several have left aside, by the names of files and directories.
   *
   * @return where to; empty where none of them is there
   */
  public static Optional<Path> moveAside(Path directory, List<String> names) throws IOException {
    return RunFiles.moveAside(
        directory,
        names.stream().map(directory::resolve).filter(Files::exists).toList(),
        Instant.now());
  }

  /** Before a checkpoint is saved: makes sure that the directory is still this run's, and there. */
  public void check() throws IOException {
    if (directory != null) {
      first(
          () -> {
            checkLock();
            return new byte[0];
          });
    }
  }

  /** Looks between checkpoints whether the directory is still there; rank 0 has it. */
  public TrainingListener guard() {
    return new TrainingListener() {
      @Override
      public void interval(Interval interval) {
        look();
      }

      @Override
      public void validation(Validation validation) {
        look();
      }

      @Override
      public void saved(TrainState state, String directory) {}

      @Override
      public void say(String sentence) {}
    };
  }

  private void look() {
    if (lock == null) {
      return;
    }
    try {
      checkLock();
    } catch (DirectoryLock.TakenOverException e) {
      throw new UncheckedIOException(e.getMessage(), e);
    } catch (IOException e) {
      warnings.accept(
          "%s cannot be reached: %s; the next checkpoint needs it"
              .formatted(directory, e.getMessage()));
    }
  }

  private void checkLock() throws IOException {
    if (lock.check()) {
      warnings.accept(
          ("%s was removed while the run writes into it: it is made again, with what the"
                  + " run has recorded; the checkpoints that lay there are gone, until the next one"
                  + " is saved")
              .formatted(directory));
    }
  }

  private interface Step {
    byte[] run() throws IOException;
  }

  /** Rank 0 does it, and all get its answer, or fail with its sentence. */
  private byte[] first(Step step) throws IOException {
    if (world.isAlone()) {
      return step.run();
    }
    byte[] own = {};
    if (world.rank() == 0) {
      try {
        byte[] answer = step.run();
        own = message('+', answer);
      } catch (IllegalArgumentException e) {
        own = message('!', text(e).getBytes(StandardCharsets.UTF_8));
      } catch (IOException e) {
        own = message('-', text(e).getBytes(StandardCharsets.UTF_8));
      }
    }
    byte[] told = world.exchange(own).get(0);
    byte[] rest = Arrays.copyOfRange(told, 1, told.length);
    return switch ((char) told[0]) {
      case '+' -> rest;
      case '!' -> throw new IllegalArgumentException(new String(rest, StandardCharsets.UTF_8));
      default -> throw new IOException(new String(rest, StandardCharsets.UTF_8));
    };
  }

  private static String text(Exception e) {
    return e.getMessage() == null ? e.toString() : e.getMessage();
  }

  private static byte[] message(char kind, byte[] body) {
    byte[] all = new byte[body.length + 1];
    all[0] = (byte) kind;
    System.arraycopy(body, 0, all, 1, body.length);
    return all;
  }

  /** Gives the directory back. */
  @Override
  public void close() throws IOException {
    if (lock != null) {
      lock.close();
    }
  }
}
