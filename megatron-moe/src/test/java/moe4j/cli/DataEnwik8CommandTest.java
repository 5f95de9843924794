package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.stream.Stream;
import moe4j.data.stream.SmallEnwik8;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class DataEnwik8CommandTest {
  private static final URI NOWHERE = URI.create("http://127.0.0.1:1/enwik8.zip");

  private final List<String> log = new ArrayList<>();
  private byte[] corpus;
  private Path root;
  private Path out;

  @BeforeMethod
  public void makeDirectory() throws IOException {
    log.clear();
    root = Files.createTempDirectory("moe4j-enwik8");
    out = root.resolve("out");
    corpus = SmallEnwik8.bytes(Seeds.random(DataEnwik8CommandTest.class));
  }

  @AfterMethod(alwaysRun = true)
  public void deleteDirectory() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private String run(Command command, String... args) throws Exception {
    PrintStream before = System.out;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try {
      assertEquals(command.run(command.flags().parse(args)), 0);
    } finally {
      System.setOut(before);
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private DataEnwik8Command command(URI uri) {
    return new DataEnwik8Command(SmallEnwik8.of(corpus, uri, log::add));
  }

  private String summary(String verb) {
    return """
        %s %s enwik8, checked: 10000 bytes, md5 %s
        train 9000, valid 500, test 500 bytes
        28 distinct bytes; the vocabulary upstream has 27 symbols, bytes has 256
        next: moe4j pretrain-txl --preset enwik8-base --data %s
        """
        .formatted(out, verb, SmallEnwik8.md5(corpus), out);
  }

  @Test
  public void ofACopy() throws Exception {
    Path file = Files.write(root.resolve("copy"), corpus);
    String[] args = {"--out", out.toString(), "--file", file.toString()};
    assertEquals(run(command(NOWHERE), args), summary("holds"));
    assertEquals(Files.size(out.resolve("train.bytes")), 9000);
    assertEquals(run(command(NOWHERE), "--out", out.toString()), summary("held already"));
    assertEquals(log, List.of("read " + file));
  }

  @Test
  public void ofADownload() throws Exception {
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/enwik8",
        exchange -> {
          exchange.sendResponseHeaders(200, corpus.length);
          exchange.getResponseBody().write(corpus);
          exchange.close();
        });
    server.start();
    try {
      URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/enwik8");
      assertEquals(run(command(uri), "--out", out.toString()), summary("holds"));
      assertEquals(log, List.of("download " + uri));
    } finally {
      server.stop(0);
    }
  }

  /** The command as it is found, with a file that is not the real enwik8. */
  @Test
  public void theRealOneIsKnownByItsSum() throws IOException {
    Command command =
        ServiceLoader.load(Command.class).stream()
            .map(ServiceLoader.Provider::get)
            .filter(found -> found.name().equals("data enwik8"))
            .findFirst()
            .orElseThrow();
    Path file = Files.write(root.resolve("copy"), corpus);
    String message =
        expectThrows(
                IOException.class,
                () -> run(command, "--out", out.toString(), "--file", file.toString()))
            .getMessage();
    assertEquals(
        message,
        ("--file %s is not enwik8: it has 10000 bytes with the md5 %s, enwik8 has 100000000 bytes"
                + " with the md5 a1fa5ffddb56f4953e226637dabbb36a; any byte file works with"
                + " pretrain-txl --data-file FILE --split-bytes TRAIN,VALID,TEST")
            .formatted(file, SmallEnwik8.md5(corpus)));
    assertFalse(Files.exists(out));
  }

  @Test
  public void flags() {
    String missing =
        expectThrows(
                IllegalArgumentException.class, () -> run(new DataEnwik8Command(), "--file", "x"))
            .getMessage();
    assertTrue(missing.contains("--out is required"), missing);
  }
}
