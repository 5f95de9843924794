package moe4j.application.demo;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class CorpusTest {
  private Path root;
  private Path jars;
  private Path prefix;
  private Tokenizer tokenizer;

  @BeforeMethod
  public void makeDirectory() throws IOException {
    root = Files.createTempDirectory("moe4j-corpus");
    jars = Files.createDirectory(root.resolve("jars"));
    prefix = root.resolve("out/corpus");
    tokenizer = Tokenizers.of(TokenizerConfig.ofType("ByteTokenizer"));
  }

  @AfterMethod(alwaysRun = true)
  public void deleteDirectory() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private Path jar(String name, String source) throws IOException {
    Path jar = jars.resolve(name);
    try (OutputStream out = Files.newOutputStream(jar);
        ZipOutputStream zip = new ZipOutputStream(out)) {
      zip.putNextEntry(new ZipEntry("A.java"));
      zip.write(source.getBytes(StandardCharsets.UTF_8));
    }
    return jar;
  }

  private String refusal(boolean sums) {
    return expectThrows(IOException.class, () -> Corpus.write(jars, sums, prefix, tokenizer))
        .getMessage();
  }

  /** A demo that is started again finds its corpus, and overwrites nobody else's. */
  @Test
  public void aCorpusThatIsThereIsKept() throws IOException {
    jar("a-sources.jar", "// licence\npackage a;\n");
    assertEquals(Corpus.write(jars, false, prefix, tokenizer).tokens(), 12);
    Path bin = prefix.resolveSibling("corpus.bin");
    Object first = Files.getAttribute(bin, "unix:ino");
    assertEquals(Corpus.write(jars, false, prefix, tokenizer).tokens(), 12);
    assertEquals(Files.getAttribute(bin, "unix:ino"), first);
    jar("a-sources.jar", "package b;\n");
    String message = refusal(false);
    assertTrue(message.startsWith(bin + " (24 bytes, of "), message);
    assertTrue(message.endsWith(" give: give another --output-dir"), message);
    try (Stream<Path> files = Files.list(bin.getParent())) {
      assertEquals(files.sorted().toList(), List.of(bin, prefix.resolveSibling("corpus.idx")));
    }
  }

  @Test
  public void foreignJarsAreNamed() throws IOException {
    Path foreign = jar("foreign-sources.jar", "package a;\n");
    assertTrue(refusal(true).startsWith(foreign + " is not one of the jars of the demo's corpus"));
    Files.delete(foreign);
    String known = CorpusSums.expected().keySet().iterator().next();
    Path bad = jar(known, "package a;\n");
    String message = refusal(true);
    assertTrue(message.startsWith(bad + " is not what it should be: its SHA-256 is "), message);
    assertTrue(message.contains(CorpusSums.expected().get(known)), message);
    assertTrue(!Files.exists(prefix.getParent()), "nothing is written");
    assertTrue(
        expectThrows(IOException.class, () -> CorpusSums.check(jars, List.of()))
            .getMessage()
            .startsWith(jars + " lacks " + known));
  }

  /** The build and the list of sums name the same jars. */
  @Test
  public void theSumsAreThoseOfTheBuild() throws IOException {
    Path pom = Path.of(System.getProperty("moe4j.root")).resolve("application/pom.xml");
    String text = Files.readString(pom);
    assertEquals(CorpusSums.expected().size(), text.split("<artifactItem>", -1).length - 1);
    for (String jar : CorpusSums.expected().keySet()) {
      String artifact = jar.replaceFirst("-[0-9].*", "");
      assertTrue(text.contains("<artifactId>" + artifact + "</artifactId>"), jar);
    }
    Path built = pom.resolveSibling("target/corpus");
    if (Files.isDirectory(built)) {
      try (Stream<Path> files = Files.list(built)) {
        CorpusSums.check(built, files.filter(f -> f.toString().endsWith(".jar")).toList());
      }
    }
  }
}
