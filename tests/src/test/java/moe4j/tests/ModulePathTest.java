package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

/**
 * The program on the module path: what the modules require, open and provide is all it takes. The
 * launcher and the other tests use the class path.
 */
public class ModulePathTest {
  private static final int MINUTES = 3;

  /** The jars, and the directories of classes that are modules. */
  private static String modulePath() {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> modules =
        Arrays.stream(classPath.split(File.pathSeparator))
            .filter(
                entry ->
                    entry.endsWith(".jar")
                        || Files.exists(Path.of(entry).resolve("module-info.class")))
            .toList();
    String ours = System.getProperty("moe4j.root");
    assertTrue(
        modules.stream().anyMatch(entry -> entry.startsWith(ours)),
        "the modules were compiled without module-info");
    return modules.stream().collect(Collectors.joining(File.pathSeparator));
  }

  @Test(groups = "slow")
  public void aRunTrainsAndSaves() throws IOException, InterruptedException {
    String modulePath = modulePath();
    try (TempDir directory = new TempDir()) {
      Path save = directory.path("run");
      List<String> line =
          new ArrayList<>(
              List.of(
                  Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                  "-XX:+UseSerialGC",
                  "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0",
                  "-Dorg.bytedeco.javacpp.maxBytes=0",
                  "--module-path",
                  modulePath,
                  "--add-modules",
                  "ALL-MODULE-PATH",
                  "--module",
                  "moe4j.megatron/moe4j.cli.Main"));
      line.addAll(
          List.of(
              "pretrain-gpt --mock-data --tokenizer-type NullTokenizer --vocab-size 63 --num-layers 1"
                  .split(" ")));
      line.addAll(
          List.of(
              "--hidden-size 16 --num-attention-heads 2 --seq-length 8 --max-position-embeddings 8"
                  .split(" ")));
      line.addAll(
          List.of(
              "--micro-batch-size 1 --train-iters 2 --eval-iters 0 --lr 1e-3 --num-experts 2"
                  .split(" ")));
      line.addAll(List.of("--save", save.toString()));
      Path log = directory.path("log");
      Process process =
          new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log.toFile()).start();
      if (!process.waitFor(MINUTES, TimeUnit.MINUTES)) {
        process.destroyForcibly();
      }
      assertEquals(process.waitFor(), 0, Files.readString(log));
      assertTrue(Files.exists(save.resolve("iter_0000002")), Files.readString(log));
    }
  }
}
