package moe4j.training.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.Locale;
import java.util.Optional;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.CheckpointSummary;
import moe4j.checkpoint.LockOwner;
import moe4j.record.MetricsReader;
import moe4j.record.RunEnd;
import moe4j.record.RunHistory;

/**
 * What lies in a run's directory: told by the manifests of its checkpoints and by its {@code
 * metrics.jsonl}, without a look at any tensor.
 *
 * @param directory the directory that was looked into
 * @param name the run's name, as its record or else its checkpoint tells it, or else the
 *     directory's
 * @param newest the checkpoint saved last; empty where nothing was saved
 * @param best the checkpoint that {@code --keep-best} keeps; empty where no best model was kept
 * @param history what the run recorded; empty where there is no record here or none that is whole
 * @param state whether it goes on
 */
public record SavedRun(
    Path directory,
    String name,
    Optional<CheckpointSummary> newest,
    Optional<CheckpointSummary> best,
    Optional<RunHistory> history,
    State state) {

  private static final DateTimeFormatter DATE =
      DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm", Locale.ROOT);

  /** How a run stands. */
  public enum State {
    /** A process trains it now, as far as this machine can tell. */
    RUNNING,
    /** It has steps left. */
    STOPPED,
    /** It has taken all its steps. */
    DONE;

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /**
   * Looks into a directory.
   *
   * @return empty where there is neither a checkpoint nor a record of a run
   * @throws IOException where the directory cannot be read
   */
  public static Optional<SavedRun> in(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      return Optional.empty();
    }
    Optional<CheckpointSummary> newest = new CheckpointStore(directory, -1).newest();
    Optional<CheckpointSummary> best =
        new CheckpointStore(directory.resolve(BestModel.DIRECTORY), -1).newest();
    Optional<RunHistory> history = history(directory);
    if (newest.isEmpty() && best.isEmpty() && history.isEmpty()) {
      return Optional.empty();
    }
    String name =
        history
            .map(run -> run.config().name())
            .or(() -> newest.or(() -> best).flatMap(SavedRun::name))
            .orElseGet(() -> String.valueOf(directory.toAbsolutePath().normalize().getFileName()));
    return Optional.of(
        new SavedRun(directory, name, newest, best, history, state(directory, newest, history)));
  }

  private static Optional<RunHistory> history(Path directory) {
    try {
      return Optional.of(MetricsReader.read(directory));
    } catch (IOException e) {
      // A checkpoint alone is a saved run, too.
      return Optional.empty();
    }
  }

  /** The {@code --run-name} of the run that saved a checkpoint. */
  private static Optional<String> name(CheckpointSummary checkpoint) {
    return Optional.ofNullable(checkpoint.run())
        .map(run -> run.configuration().path("logging").path("runName"))
        .filter(node -> node.isTextual())
        .map(node -> node.asText());
  }

  private static State state(
      Path directory, Optional<CheckpointSummary> newest, Optional<RunHistory> history)
      throws IOException {
    Optional<LockOwner> owner = LockOwner.in(directory);
    if (owner.isPresent() && owner.get().seemsAlive(directory)) {
      return State.RUNNING;
    }
    boolean complete =
        history.flatMap(RunHistory::end).filter(RunEnd.COMPLETE.word()::equals).isPresent();
    return complete && newest.isPresent() ? State.DONE : State.STOPPED;
  }

  /** Whether a new run that saved here would replace or prune a checkpoint. */
  public boolean hasCheckpoints() {
    return newest.isPresent() || best.isPresent();
  }

  /** The run in a few words: its name, its newest checkpoint's iteration, and when it was saved. */
  public String describe() {
    CheckpointSummary latest = newest.or(() -> best).orElse(null);
    if (latest == null) {
      return "the run '%s', which has no checkpoint".formatted(name);
    }
    String what = newest.isPresent() ? "" : " (its best checkpoint alone)";
    return "the run '%s', at iteration %d%s%s"
        .formatted(
            name,
            latest.iteration(),
            what,
            latest.created().map(time -> ", saved " + date(time)).orElse(""));
  }

  /** A moment as people read it: in this machine's time zone, to the minute. */
  public static String date(Instant moment) {
    return DATE.format(moment.atZone(ZoneId.systemDefault()).truncatedTo(ChronoUnit.MINUTES));
  }
}
