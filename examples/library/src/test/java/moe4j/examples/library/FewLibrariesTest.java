package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import moe4j.report.CompareReport;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import org.testng.annotations.Test;

/** A program that wants a layer gets no logging backend, no plots and no tokenizer libraries. */
public class FewLibrariesTest {
  /** Starts of jars' names that belong to a program, and none to a library. */
  private static final List<String> APPLICATION =
      List.of(
          "moe4j-application",
          "log4j-core",
          "log4j-slf4j",
          "xchart",
          "jtokkit",
          "tokenizers",
          "api-",
          "jna",
          "gson",
          "progressbar",
          "jline");

  /** A run's record: what it was, and one step. */
  private static final String METRICS =
      """
      {"kind":"config","step":0,"consumed_samples":0,"tokens":0,"wall_s":0.0,"format":1,\
      "time":"2026-01-01T00:00:00Z","name":"small","arguments":{},"total_parameters":10,\
      "active_parameters":10,"tokens_per_sample":16,"environment":{}}
      {"kind":"train","step":1,"consumed_samples":4,"tokens":64,"wall_s":0.2,"values":\
      {"learning rate":0.008,"lm loss":5.9,"grad norm":1.1,"tokens/s":671.5}}
      """;

  @Test
  public void theClassPathHasNoneOfTheApplicationsLibraries() {
    String path =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> names =
        Arrays.stream(path.split(File.pathSeparator))
            .map(entry -> Path.of(entry).getFileName().toString())
            .toList();
    assertTrue(names.stream().anyMatch(name -> name.startsWith("pytorch-")), path);
    assertEquals(
        names.stream().filter(name -> APPLICATION.stream().anyMatch(name::startsWith)).toList(),
        List.of());
    for (String type :
        List.of(
            "org.apache.logging.log4j.core.Logger",
            "org.knowm.xchart.XYChart",
            "com.knuddels.jtokkit.Encodings",
            "ai.djl.huggingface.tokenizers.HuggingFaceTokenizer",
            "moe4j.application.Log4jBackend")) {
      assertThrows(ClassNotFoundException.class, () -> Class.forName(type));
    }
  }

  /** The poms say the same to whoever reads them from a repository. */
  @Test
  public void noLibraryDeclaresThem() throws IOException {
    Path root = Path.of(System.getProperty("moe4j.root"));
    for (String module :
        List.of(
            "kernels",
            "tokenizer",
            "data",
            "megatron-moe",
            "examples/gpt",
            "examples/transformer-xl")) {
      String pom = Files.readString(root.resolve(module).resolve("pom.xml"));
      assertFalse(
          Files.exists(root.resolve(module).resolve("src/main/resources/log4j2.xml")), module);
      for (String declared : pom.split("<dependency>")) {
        String artifact = declared.replaceAll("(?s).*?<artifactId>(.*?)</artifactId>.*", "$1");
        boolean kept =
            declared.contains("<optional>true</optional>")
                || declared.contains("<scope>test</scope>");
        if (APPLICATION.stream().anyMatch(artifact::startsWith)) {
          assertTrue(kept, module + " brings " + artifact);
        }
      }
    }
  }

  @Test
  public void aTokenizerNamesTheArtifactThatIsMissing() throws IOException {
    for (String[] type :
        new String[][] {
          {"GPT2BPETokenizer", "com.knuddels:jtokkit"},
          {"HuggingFaceTokenizer", "ai.djl.huggingface:tokenizers"}
        }) {
      TokenizerConfig config = TokenizerConfig.ofType(type[0]);
      assertEquals(
          expectThrows(IOException.class, () -> Tokenizers.of(config)).getMessage(),
          "--tokenizer-type %s needs the artifact %s on the class path: add it, or moe4j-application, which brings it"
              .formatted(type[0], type[1]));
    }
    assertEquals(Tokenizers.of(TokenizerConfig.ofType("ByteTokenizer")).vocabSize(), 257);
  }

  @Test
  public void aReportNamesTheArtifactThatIsMissing() throws IOException {
    Path directory = Files.createTempDirectory("moe4j-report");
    try {
      Path run = Files.createDirectories(directory.resolve("run"));
      Files.write(run.resolve("metrics.jsonl"), METRICS.getBytes(StandardCharsets.UTF_8));
      IOException absent =
          expectThrows(IOException.class, () -> CompareReport.of(List.of(run)).write(directory));
      assertEquals(
          absent.getMessage(),
          directory.resolve("report.html")
              + " is written, but loss.png needs the artifact org.knowm.xchart:xchart on the class"
              + " path: add it, or moe4j-application, which brings it");
      assertTrue(Files.exists(directory.resolve("report.html")));
    } finally {
      try (Stream<Path> files = Files.walk(directory)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }
}
