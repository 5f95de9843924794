package moe4j.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import moe4j.config.BuildInfo;
import moe4j.config.Flags;
import moe4j.config.Nearest;
import moe4j.config.RefusedLine;
import moe4j.console.Screen;
import moe4j.data.PartFiles;
import moe4j.parallel.RankLostException;
import moe4j.parallel.WorldEnvironment;
import moe4j.training.ShutdownSignal;
import moe4j.training.TrainingDivergedException;
import moe4j.training.UnsavedException;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * The one entry point: {@code moe4j COMMAND [FLAGS]}. Whatever goes wrong is one sentence on
 * standard error and a status of 1, or of 2 where the command line is wrong; the stack trace, C++'s
 * frames among it, is for the log level {@code debug}.
 */
public final class Main {
  private static final Logger LOG = LogManager.getLogger(Main.class);

  /** How libtorch says that the system gave it no memory. */
  private static final Pattern REFUSED_MEMORY =
      Pattern.compile("can't allocate memory: you tried to allocate (\\d+) bytes");

  /** The status of a process that a signal ended, as shells give it: an interrupt's, or its own. */
  private static volatile int interrupted = ShutdownSignal.status("INT");

  private Main() {}

  /** Runs a command and exits with its status. */
  public static void main(String[] args) {
    Runtime.getRuntime().addShutdownHook(new Thread(Main::interrupted, "interrupt"));
    ShutdownSignal.handle(
        name -> {
          interrupted = ShutdownSignal.status(name);
          System.exit(interrupted);
        },
        ShutdownSignal.names());
    Screen.putUpTerminal();
    PrintStream out = System.out;
    int status = run(args, System.out, System.err);
    Screen.current().hide();
    System.out.flush();
    status = written(status, out);
    LogManager.shutdown();
    // Native threads and a loader's daemon may still be there: the process is over all the same.
    Runtime.getRuntime().halt(status);
  }

  /**
   * The status of a process whose standard output may have lost lines, as a stream of prints tells
   * nobody: on a full disk that is a failure, while a reader such as {@code head} may have enough.
   */
  private static int written(int status, PrintStream out) {
    if (!out.checkError()) {
      return status;
    }
    String cause = "lines are missing";
    try {
      // Not closed: it is the process's. The stream does not say why it failed.
      new FileOutputStream(FileDescriptor.out).write('\n');
    } catch (IOException e) {
      cause = e.getMessage();
    }
    if (cause.contains("pipe")) {
      return status;
    }
    System.err.printf("moe4j: standard output cannot be written: %s%n", cause);
    return status == 0 ? 1 : status;
  }

  /**
   * An interrupt ends the process at once: libtorch's own end would pull its state from under the
   * threads that still compute.
   */
  private static void interrupted() {
    PartFiles.deleteAll();
    Screen.current().leave();
    Runtime.getRuntime().halt(interrupted);
  }

  /** Runs a command. */
  public static int run(String[] args, PrintStream out, PrintStream err) {
    try {
      return run(commands(), args, out, err);
    } catch (IllegalStateException | ServiceConfigurationError e) {
      // What the class path adds is no fault of the command line.
      LOG.debug("failed", e);
      err.printf("moe4j: %s%n", firstLine(e.getMessage()));
      return 1;
    }
  }

  private static int run(List<Command> commands, String[] args, PrintStream out, PrintStream err) {
    if (args.length == 1 && List.of("--version", "-V", "version").contains(args[0])) {
      out.printf("moe4j %s (commit %s)%n", BuildInfo.version(), BuildInfo.commit());
      return 0;
    }
    if (args.length == 0 || List.of("--help", "-h", "help").contains(args[0])) {
      out.print(list(commands));
      return args.length == 0 ? 2 : 0;
    }
    int words = CommandLines.words(commands, args);
    Command command = CommandLines.named(commands, args, words);
    List<String> seconds =
        commands.stream()
            .map(Command::name)
            .filter(name -> name.startsWith(args[0] + " "))
            .map(name -> name.substring(args[0].length() + 1))
            .toList();
    if (command == null && !seconds.isEmpty()) {
      String typed = args.length == 1 || args[1].startsWith("-") ? "" : ", not '" + args[1] + "'";
      err.printf("moe4j %s: the word after it is %s%s%n", args[0], alternatives(seconds), typed);
      return 2;
    }
    if (command == null) {
      List<String> names = commands.stream().map(Command::name).toList();
      err.printf(
          "moe4j: there is no command '%s'%s%n",
          args[0],
          args[0].startsWith("@") || args[0].startsWith("-")
              ? ": the command is the first word, and flags and files of flags follow it"
              : Nearest.to(args[0], names).map(n -> "; did you mean '" + n + "'?").orElse(""));
      err.print(list(commands));
      return 2;
    }
    return run(command, Arrays.copyOfRange(args, words, args.length), out, err);
  }

  private static String help(Command command) {
    return "moe4j %s [flags]%s%n%s%n%n%s"
        .formatted(
            command.name(),
            command.positional().isEmpty() ? "" : " " + command.positional(),
            command.summary(),
            command.flags().help() + (command.flags().takesCommand() ? "" : ConfigFiles.HELP));
  }

  /** Such as {@code a, b or c}. */
  private static String alternatives(List<String> words) {
    int last = words.size() - 1;
    return last == 0
        ? words.get(0)
        : String.join(", ", words.subList(0, last)) + " or " + words.get(last);
  }

  private static int run(Command named, String[] args, PrintStream out, PrintStream err) {
    Command command = named;
    try {
      command = named.of(args);
      if (command.flags().askForHelp(args)) {
        out.print(help(command));
        return 0;
      }
      AddressSpace.shortage().ifPresent(said -> err.printf("moe4j: %s%n", said));
      WorldEnvironment environment = WorldEnvironment.of(System.getenv());
      Flags.Parsed parsed = CommandLines.parse(command, args, environment.size());
      if (!parsed.withoutEffect().isEmpty() && environment.rank() == 0) {
        LOG.info(CommandLines.withoutEffect(parsed));
      }
      return command.run(parsed);
    } catch (RefusedLine e) {
      LOG.debug("refused", e);
      err.print(CommandLines.answer(command, e.sentences()));
      return 2;
    } catch (IllegalArgumentException e) {
      LOG.debug("refused", e);
      err.printf("moe4j %s: %s%n", command.name(), firstLine(e.getMessage()));
      return 2;
    } catch (RankLostException e) {
      LOG.debug("failed", e);
      err.printf("moe4j %s: %s%n", command.name(), firstLine(e.getMessage()));
      return 1;
    } catch (TrainingDivergedException e) {
      err.printf("moe4j %s: %s%n", command.name(), e.getMessage());
      return 1;
    } catch (UnsavedException e) {
      LOG.debug("failed", e);
      err.printf("moe4j %s: %s%n", command.name(), sentence((IOException) e.getCause()));
      return e.status();
    } catch (IOException | UncheckedIOException e) {
      LOG.debug("failed", e);
      err.printf("moe4j %s: %s%n", command.name(), sentence(e));
      return 1;
    } catch (OutOfMemoryError e) {
      LOG.debug("failed", e);
      err.printf("moe4j %s: out of memory: %s%n", command.name(), firstLine(e.getMessage()));
      return 1;
    } catch (Exception | LinkageError e) {
      LOG.debug("failed", e);
      err.printf("moe4j %s: %s%n", command.name(), unexpected(e));
      return 1;
    }
  }

  /** A sentence for a file's failure: some of the JDK's exceptions are but a path. */
  private static String sentence(Exception e) {
    Throwable cause = e instanceof UncheckedIOException unchecked ? unchecked.getCause() : e;
    if (cause instanceof NoSuchFileException missing) {
      return "there is no file " + missing.getFile();
    } else if (cause instanceof AccessDeniedException denied) {
      return "no permission for " + denied.getFile();
    } else if (cause instanceof FileAlreadyExistsException exists) {
      return exists.getFile() + " exists and is no directory";
    } else if (cause instanceof FileSystemException other && other.getReason() != null) {
      return other.getFile() + ": " + other.getReason();
    }
    return firstLine(
        e.getMessage() != null && !e.getMessage().isBlank() ? e.getMessage() : cause.toString());
  }

  /** What is said of a failure that nobody has a sentence of their own for. */
  static String unexpected(Throwable e) {
    String message = e.getMessage() == null ? e.getClass().getName() : firstLine(e.getMessage());
    Matcher refused = REFUSED_MEMORY.matcher(message);
    return refused.find()
        ? "out of memory: %s bytes at once are more than this machine gives"
            .formatted(refused.group(1))
        : message + " (MOE4J_LOG=debug shows where)";
  }

  /** Native errors carry a C++ backtrace behind their first line. */
  private static String firstLine(String message) {
    return message == null ? "" : message.lines().findFirst().orElse("");
  }

  /**
   * The commands of all modules, by name, and those for one kind of model.
   *
   * @throws IllegalStateException where the class path adds what cannot be used: one sentence
   */
  public static List<Command> commands() {
    List<Command> commands = new ArrayList<>();
    for (Command command : ServiceLoader.load(Command.class)) {
      commands.add(command);
      commands.addAll(command.byKind());
    }
    commands.sort(Comparator.comparing(Command::name));
    for (int i = 1; i < commands.size(); i++) {
      String name = commands.get(i).name();
      if (commands.get(i - 1).name().equals(name)) {
        throw new IllegalStateException(
            "two commands on the class path are called '%s': a kind of model, or a command, of your own needs another name"
                .formatted(name));
      }
    }
    return commands;
  }

  private static String list(List<Command> commands) {
    Set<String> byKind =
        commands.stream()
            .flatMap(command -> command.byKind().stream())
            .map(Command::name)
            .collect(Collectors.toSet());
    StringBuilder text = new StringBuilder("moe4j COMMAND [flags]; moe4j COMMAND --help\n\n");
    commands.stream()
        .filter(command -> !byKind.contains(command.name()))
        .forEach(command -> text.append(line(command)));
    text.append("\nthe same for one kind of model:\n");
    commands.stream()
        .filter(command -> byKind.contains(command.name()))
        .forEach(command -> text.append(line(command)));
    return text.toString();
  }

  private static String line(Command command) {
    return "  %-14s %s%n".formatted(command.name(), command.summary());
  }
}
