package moe4j.data.stream;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.UnaryOperator;
import moe4j.data.stream.Enwik8.Expected;
import moe4j.data.stream.Enwik8.Timing;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A small corpus from a server in this process, which does as it should or does not. */
public class Enwik8DownloadTest {
  private static final Duration LONG = Duration.ofSeconds(30);

  private final Random random = Seeds.random(Enwik8DownloadTest.class);
  private final List<String> log = new ArrayList<>();
  private byte[] corpus;
  private TempDir dir;
  private Path out;
  private HttpServer server;
  private ExecutorService threads;

  @BeforeMethod
  public void startServer() throws IOException {
    log.clear();
    dir = new TempDir();
    out = dir.path("out");
    corpus = Enwik8Test.corpus(random);
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    threads = Executors.newCachedThreadPool();
    server.setExecutor(threads);
    server.start();
  }

  @AfterMethod(alwaysRun = true)
  public void stopServer() throws IOException {
    server.stop(0);
    threads.shutdownNow();
    dir.close();
  }

  private URI uri(String path) {
    return URI.create("http://127.0.0.1:" + server.getAddress().getPort() + path);
  }

  private void serve(String path, HttpHandler handler) {
    server.createContext(path, handler);
  }

  /** Sends bytes under a length that may be another. */
  private static void send(HttpExchange exchange, byte[] bytes, long length) throws IOException {
    exchange.sendResponseHeaders(200, length);
    exchange.getResponseBody().write(bytes);
    exchange.close();
  }

  private Enwik8.Prepared prepare(String path, Duration patience, Duration reports)
      throws IOException {
    return new Enwik8(
            new Expected("enwik8", Enwik8Test.md5(corpus), Enwik8Test.SPLIT),
            List.of(uri(path)),
            new Timing(patience, reports),
            UnaryOperator.identity(),
            log::add)
        .prepare(out, null);
  }

  private String refusal(String path, Duration patience) throws IOException {
    String message =
        expectThrows(IOException.class, () -> prepare(path, patience, LONG)).getMessage();
    assertEquals(message.lines().count(), 1, message);
    assertFalse(Files.exists(out), message);
    assertEquals(dir.list(), List.of());
    return message;
  }

  @DataProvider
  public Object[][] forms() {
    return new Object[][] {{"zip", true}, {"zip", false}, {"gz", true}, {"plain", false}};
  }

  @Test(dataProvider = "forms")
  public void downloads(String form, boolean lengthIsKnown) throws IOException {
    byte[] packed =
        switch (form) {
          case "zip" -> Enwik8Test.zip("enwik8", corpus);
          case "gz" -> Enwik8Test.gz(corpus);
          default -> corpus;
        };
    serve("/file", exchange -> send(exchange, packed, lengthIsKnown ? packed.length : 0));
    Enwik8.Prepared made = prepare("/file", LONG, LONG);
    Enwik8Test.assertHolds(out, corpus);
    assertFalse(made.wasThere());
    assertEquals(made.manifest().source(), uri("/file").toString());
    assertEquals(log, List.of("download " + uri("/file")));
    assertTrue(prepare("/gone", LONG, LONG).wasThere());
  }

  /** As where the encrypted address does not answer: the sum tells whether the bytes are right. */
  @Test
  public void theNextAddressIsTriedAndTold() throws IOException {
    serve("/file", exchange -> send(exchange, corpus, corpus.length));
    Enwik8.Prepared made =
        new Enwik8(
                new Expected("enwik8", Enwik8Test.md5(corpus), Enwik8Test.SPLIT),
                List.of(uri("/missing"), uri("/file")),
                new Timing(LONG, LONG),
                UnaryOperator.identity(),
                log::add)
            .prepare(out, null);
    assertEquals(made.manifest().source(), uri("/file").toString());
    assertEquals(
        log,
        List.of(
            "%s answers with status 404 Not Found: %s is tried"
                .formatted(uri("/missing"), uri("/file")),
            "download " + uri("/file")));
  }

  @Test
  public void redirectsAreFollowed() throws IOException {
    serve("/first", exchange -> redirect(exchange, "/second"));
    serve("/second", exchange -> redirect(exchange, uri("/file").toString()));
    serve("/file", exchange -> send(exchange, corpus, corpus.length));
    assertEquals(prepare("/first", LONG, LONG).manifest().source(), uri("/file").toString());
    Enwik8Test.assertHolds(out, corpus);
  }

  private static void redirect(HttpExchange exchange, String to) throws IOException {
    exchange.getResponseHeaders().set("Location", to);
    exchange.sendResponseHeaders(302, -1);
    exchange.close();
  }

  @Test
  public void redirectsThatLeadNowhere() throws IOException {
    serve("/round", exchange -> redirect(exchange, "/round"));
    serve("/disk", exchange -> redirect(exchange, "file:///etc/passwd"));
    serve("/broken", exchange -> redirect(exchange, "http://[/"));
    assertTrue(
        refusal("/round", LONG).startsWith(uri("/round") + " sends us on more than 5 times"));
    assertTrue(
        refusal("/disk", LONG)
            .startsWith(uri("/disk") + " sends us to file:///etc/passwd, which is no web address"));
    assertTrue(
        refusal("/broken", LONG)
            .startsWith(uri("/broken") + " sends us to 'http://[/', which is no address"));
  }

  @Test
  public void otherStatusesAreNamed() throws IOException {
    for (int status : new int[] {404, 403, 500, 503, 204, 304}) {
      serve(
          "/" + status,
          exchange -> {
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
          });
      String message = refusal("/" + status, LONG);
      assertTrue(message.startsWith(uri("/" + status) + " answers with status " + status), message);
      assertTrue(message.endsWith("; a copy from elsewhere is taken with --file FILE"), message);
    }
  }

  @Test
  public void aServerThatIsNotThere() throws IOException {
    URI gone = uri("/file");
    server.stop(0);
    String message = refusal("/file", LONG);
    assertTrue(message.startsWith(gone + " cannot be reached: "), message);
  }

  @Test
  public void aBodyThatBreaksOff() throws IOException {
    byte[] zip = Enwik8Test.zip("enwik8", corpus);
    byte[] half = Arrays.copyOf(zip, zip.length / 2);
    byte[] start = Arrays.copyOf(corpus, 1000);
    serve("/zip", exchange -> broken(exchange, half, zip.length));
    serve("/plain", exchange -> broken(exchange, start, corpus.length));
    serve("/none", exchange -> broken(exchange, new byte[0], zip.length));
    assertTrue(refusal("/zip", LONG).startsWith(broke("/zip", half.length, zip.length)));
    assertTrue(refusal("/plain", LONG).startsWith(broke("/plain", 1000, corpus.length)));
    assertTrue(refusal("/none", LONG).startsWith(broke("/none", 0, zip.length)));
  }

  private String broke(String path, int bytes, int of) {
    return "the connection to %s broke after %d of %d bytes".formatted(uri(path), bytes, of);
  }

  private static void broken(HttpExchange exchange, byte[] bytes, long length) throws IOException {
    exchange.sendResponseHeaders(200, length);
    exchange.getResponseBody().write(bytes);
    exchange.getResponseBody().flush();
    // Closes the connection, as less was sent than was announced.
    exchange.close();
  }

  /** A server that goes silent in the midst of the body is given up. */
  @Test
  public void aServerThatStalls() throws IOException {
    CountDownLatch done = new CountDownLatch(1);
    serve(
        "/file",
        exchange -> {
          exchange.sendResponseHeaders(200, corpus.length);
          exchange.getResponseBody().write(corpus, 0, 5000);
          exchange.getResponseBody().flush();
          await(done);
          exchange.close();
        });
    try {
      String message = refusal("/file", Duration.ofMillis(300));
      assertEquals(message, broke("/file", 5000, corpus.length) + ", as nothing more came");
    } finally {
      done.countDown();
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  public void wrongContentIsRefused() throws IOException {
    byte[] other = corpus.clone();
    other[150_000]++;
    byte[] zip = Enwik8Test.zip("enwik8", other);
    byte[] page = "<html>please log in</html>".getBytes(UTF_8);
    byte[] cut = Arrays.copyOf(zip, zip.length / 2);
    serve("/other", exchange -> send(exchange, zip, zip.length));
    serve("/page", exchange -> send(exchange, page, page.length));
    serve("/empty", exchange -> send(exchange, new byte[0], -1));
    serve("/cut", exchange -> send(exchange, cut, cut.length));
    assertEquals(
        refusal("/other", LONG),
        "%s gave 200000 bytes with the md5 %s, but enwik8 has 200000 bytes with the md5 %s: nothing is kept"
            .formatted(uri("/other"), Enwik8Test.md5(other), Enwik8Test.md5(corpus)));
    assertTrue(refusal("/page", LONG).startsWith(uri("/page") + " gave 26 bytes with the md5 "));
    assertTrue(refusal("/empty", LONG).startsWith(uri("/empty") + " gave 0 bytes with the md5 "));
    assertTrue(
        refusal("/cut", LONG).startsWith(uri("/cut") + " is cut off or no sound zip file: "));
  }

  /** A line each time the interval is over, with what has come. */
  @Test
  public void progressIsLogged() throws IOException {
    serve(
        "/file",
        exchange -> {
          exchange.sendResponseHeaders(200, corpus.length);
          exchange.getResponseBody().write(corpus, 0, 100_000);
          exchange.getResponseBody().flush();
          try {
            Thread.sleep(60);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
          exchange.getResponseBody().write(corpus, 100_000, 100_000);
          exchange.close();
        });
    prepare("/file", LONG, Duration.ofMillis(20));
    assertTrue(log.size() >= 2, log.toString());
    String line = log.get(log.size() - 1);
    assertTrue(line.matches(uri("/file") + ": 0\\.[12] of 0\\.2 MB"), line);
  }
}
