package moe4j.cli;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.RunConfig;
import moe4j.parallel.WorldEnvironment;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * A command that takes a run's flags, which are those of the kind of model that {@code --model}
 * names. Each kind's command has a name of its own, too.
 */
abstract class FamilyCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(FamilyCommand.class);

  /** The flag that names the kind of model. */
  public record ModelFlag(
      @Flag(
              help =
                  "kind of model, which the other flags depend on: gpt, txl, or one of your own;"
                      + " --model NAME --help lists them",
              required = true)
          String model) {}

  private final ModelFamily family;
  private final String name;

  /**
   * A command.
   *
   * @param family the kind of model; null where {@code --model} is to say it
   * @param name the command's, whatever the kind, or the kind's own
   */
  FamilyCommand(ModelFamily family, String name) {
    this.family = family;
    this.name = name;
  }

  /** The verb's name, by which {@code --model} is asked for. */
  abstract String verb();

  /** Flags of the command's own. */
  abstract List<Class<? extends Record>> own();

  /** The same command for a kind of model, under a name. */
  abstract FamilyCommand with(ModelFamily kind, String called);

  /** What the command of a kind of model is called. */
  abstract String nameFor(ModelFamily kind);

  final ModelFamily family() {
    return family;
  }

  /** Such as {@code a GPT}; whatever model where none is named. */
  final String title() {
    return family == null ? "a model" : "a " + family.title();
  }

  @Override
  public final String name() {
    return name;
  }

  @Override
  public final List<Command> byKind() {
    return ModelFamilies.all().stream().map(kind -> (Command) with(kind, nameFor(kind))).toList();
  }

  @Override
  public final Command of(String[] args) throws IOException {
    if (family != null) {
      return this;
    }
    String model = CommandLines.valueOf("--model", flags(), args);
    if (model == null && flags().askForHelp(args)) {
      return this;
    } else if (model == null) {
      throw new IllegalArgumentException(
          "--model is required: %s (moe4j %s --model NAME --help lists the flags of each)"
              .formatted(
                  ModelFamilies.all().stream()
                      .map(ModelFamily::name)
                      .collect(Collectors.joining(" or ")),
                  name));
    }
    return with(ModelFamilies.named(model), name);
  }

  @Override
  public final Flags flags() {
    if (family == null) {
      return Flags.of(ModelFlag.class);
    }
    List<Class<? extends Record>> flags = new ArrayList<>(own());
    if (name.equals(verb())) {
      flags.add(0, ModelFlag.class);
    }
    return family.flags(flags);
  }

  @Override
  public final String[] expand(String[] args) {
    boolean first = WorldEnvironment.of(System.getenv()).rank() == 0;
    Consumer<String> say = first ? LOG::info : sentence -> {};
    return family.expand(args, say);
  }

  @Override
  public final void check(Flags.Parsed parsed, int processes) {
    config(parsed, processes);
  }

  @Override
  public final void checkPart(Flags.Parsed parsed, int processes) {
    family.checkPart(parsed, processes);
  }

  /** The run that the flags mean. */
  final RunConfig config(Flags.Parsed parsed, int processes) {
    return family.run(parsed, processes);
  }
}
