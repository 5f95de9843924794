package moe4j.cli;

import static org.testng.Assert.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import moe4j.config.Flag;
import moe4j.cost.Costs;
import moe4j.model.LanguageModel;
import moe4j.model.ModelFamily;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.parallel.WorldEnvironment;
import moe4j.testing.TempDir;
import moe4j.transformer.LayerShape;
import moe4j.transformer.ParameterSet;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Kinds of models that the class path adds and that are no good: every command says so. */
public class InstalledFamiliesTest {
  /** What is asked of none of them here. */
  private abstract static class Unasked implements ModelFamily {
    /** A seed is a flag of every run. */
    record SeedFlags(@Flag(help = "a seed", value = "1") int seed) {}

    @Override
    public String title() {
      return "Test";
    }

    @Override
    public Class<? extends Record> modelFlags() {
      return SeedFlags.class;
    }

    @Override
    public Class<? extends Record> dataFlags() {
      return NoFlags.class;
    }

    @Override
    public LayerShape layerShape(Record flags) {
      throw new AssertionError();
    }

    @Override
    public int sequenceLength(Record flags) {
      throw new AssertionError();
    }

    @Override
    public Costs costs(ModelSpec model, int paddedVocabulary) {
      throw new AssertionError();
    }

    @Override
    public LanguageModel model(
        ModelSpec model, int paddedVocabulary, int rows, ParameterSet parameters) {
      throw new AssertionError();
    }

    @Override
    public Task task(RunConfig run, WorldEnvironment environment) {
      throw new AssertionError();
    }
  }

  /** It cannot be made. */
  public static final class Failing extends Unasked {
    /** Fails. */
    public Failing() {
      throw new IllegalArgumentException("a file is missing");
    }

    @Override
    public String name() {
      return "failing";
    }
  }

  /** Its name is taken. */
  public static final class Twin extends Unasked {
    @Override
    public String name() {
      return "gpt";
    }
  }

  /** Its name is no word of a command line. */
  public static final class Spaced extends Unasked {
    @Override
    public String name() {
      return "my model";
    }
  }

  /** It has no name. */
  public static final class Nameless extends Unasked {
    @Override
    public String name() {
      return null;
    }
  }

  /** Its name makes a command that there is. */
  public static final class Colliding extends Unasked {
    @Override
    public String name() {
      return "moe";
    }
  }

  /** One of its flags is another record's. */
  public static final class Clashing extends Unasked {
    @Override
    public String name() {
      return "clashing";
    }
  }

  @DataProvider
  public Object[][] families() {
    String of = getClass().getName() + "$";
    String names = ": a name begins with a small letter and has small letters, digits, - and _\n";
    return new Object[][] {
      {
        Failing.class,
        "moe4j: a kind of model on the class path cannot be used: moe4j.model.ModelFamily: Provider "
            + of
            + "Failing could not be instantiated (java.lang.IllegalArgumentException: a file is"
            + " missing)\n"
      },
      {
        Twin.class,
        "moe4j: moe4j.model.gpt.GptFamily and "
            + of
            + "Twin both call their kind of model 'gpt': one of them has to leave the class path or"
            + " take another name\n"
      },
      {Spaced.class, "moe4j: " + of + "Spaced calls its kind of model 'my model'" + names},
      {Nameless.class, "moe4j: " + of + "Nameless calls its kind of model 'null'" + names},
      {
        Colliding.class,
        "moe4j: two commands on the class path are called 'bench moe': a kind of model, or a"
            + " command, of your own needs another name\n"
      },
      {
        Clashing.class,
        "moe4j pretrain: --seed stands in two records, %s and moe4j.config.TrainingConfig (MOE4J_LOG=debug shows where)\n"
            .formatted(Unasked.SeedFlags.class.getName())
      },
    };
  }

  @Test(dataProvider = "families")
  public void oneThatIsNoGoodIsASentence(Class<? extends ModelFamily> family, String sentence)
      throws IOException {
    Thread thread = Thread.currentThread();
    ClassLoader before = thread.getContextClassLoader();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    try (TempDir folder = new TempDir()) {
      Path services = folder.root().resolve("META-INF/services");
      Files.createDirectories(services);
      Files.writeString(services.resolve(ModelFamily.class.getName()), family.getName());
      URL[] added = {folder.root().toUri().toURL()};
      try (URLClassLoader with = new URLClassLoader(added, before)) {
        thread.setContextClassLoader(with);
        String[] line = {"pretrain", "--model", "clashing"};
        assertEquals(
            Main.run(line, System.out, new PrintStream(err, true, StandardCharsets.UTF_8)), 1);
      } finally {
        thread.setContextClassLoader(before);
      }
    }
    assertEquals(err.toString(StandardCharsets.UTF_8), sentence);
  }
}
