package moe4j.report;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import moe4j.record.ExpertLoad;
import moe4j.record.MetricsWriter;
import moe4j.record.PythonFormat;
import moe4j.record.RunHistory;
import moe4j.record.ValidationRecord;
import moe4j.testing.Seeds;
import moe4j.training.record.MadeUpRun;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;
import org.xml.sax.InputSource;

public class CompareReportTest {
  private static final String NASTY = "moe </script><script>alert('1')</script> & \"8\" experts";
  private Path directory;
  private Random random;

  @BeforeMethod
  public void make() throws IOException {
    directory = Files.createTempDirectory("compare");
    random = Seeds.random(CompareReportTest.class);
  }

  @AfterMethod
  public void clean() throws IOException {
    MadeUpRun.delete(directory);
  }

  private CompareReport twins(int steps) throws IOException {
    return CompareReport.of(
        List.of(
            MadeUpRun.write(directory.resolve("a"), "dense", 0, steps, 0.42, random),
            MadeUpRun.write(directory.resolve("b"), NASTY, 8, steps, 0.55, random)));
  }

  @Test
  public void pageHoldsBothRunsAndNothingFromElsewhere() throws Exception {
    CompareReport report = twins(400);
    String page = Files.readString(report.write(directory.resolve("out")));
    assertTrue(page.contains("dense"));
    assertTrue(page.contains(Markup.escape(NASTY)));
    assertFalse(page.contains("<script>alert"), "unescaped name");
    assertEquals(page.split("</script>", -1).length - 1, 2, "scripts of the page itself");
    Matcher links = Pattern.compile("(?:src|href)=\"([^\"]*)\"|url\\(([^)]*)\\)").matcher(page);
    while (links.find()) {
      String target = links.group(1) == null ? links.group(2) : links.group(1);
      assertTrue(target.startsWith("data:") || target.startsWith("#"), target);
    }
    for (String heading :
        List.of(
            "Validation loss by step",
            "Validation loss by wall time",
            "Validation loss by tokens",
            "Training loss by step",
            "Training loss by wall time",
            "Training loss by tokens",
            "Learning rate",
            "Gradient norm",
            "Coefficient of variation",
            "Router entropy, each layer and their mean",
            "load_balancing_loss, each layer and their mean",
            "z_loss, each layer and their mean",
            "Expert load: ")) {
      assertTrue(page.contains(heading), heading);
    }
    // Differs: marked; agrees: not.
    assertTrue(page.contains("<tr class=\"differs\"><td>num_experts</td><td>None</td><td>8</td>"));
    assertTrue(page.contains("<tr><td>hidden_size</td><td>256</td><td>256</td>"));
    for (RunHistory run : report.runs()) {
      double loss = run.finalValidationLoss().get();
      assertTrue(page.contains(">" + PythonFormat.fixed(loss, 4) + "</td>"));
      assertTrue(page.contains(">" + PythonFormat.fixed(Math.exp(loss), 3) + "</td>"));
    }
  }

  @Test
  public void chartsAreXmlAndTheirDataIsJson() throws Exception {
    String page = Files.readString(twins(300).write(directory.resolve("out")));
    DocumentBuilder parser = DocumentBuilderFactory.newInstance().newDocumentBuilder();
    Matcher svgs = Pattern.compile("<svg.*?</svg>", Pattern.DOTALL).matcher(page);
    List<String> ids = new ArrayList<>();
    int charts = 0;
    while (svgs.find()) {
      String id =
          parser
              .parse(new InputSource(new StringReader(svgs.group())))
              .getDocumentElement()
              .getAttribute("id");
      charts++;
      if (!id.isEmpty()) {
        ids.add(id);
      }
    }
    // Six losses, five measures, two of balance, the router's entropy and two losses by layer; and
    // heat maps: the end and four layers.
    assertEquals(ids.size(), 16);
    assertEquals(charts, 16 + 5);
    int from = page.indexOf("application/json\">") + "application/json\">".length();
    JsonNode data =
        new ObjectMapper().readTree(page.substring(from, page.indexOf("</script>", from)));
    List<String> keys = new ArrayList<>();
    data.fieldNames().forEachRemaining(keys::add);
    assertEquals(keys, ids);
    assertEquals(data.get("chart0").get("curves").get(1).get("name").asText(), NASTY);
    assertEquals(data.get("chart0").get("curves").get(1).get("x").size(), 6);
  }

  @Test
  public void pictureShowsBothRuns() throws Exception {
    twins(300).write(directory.resolve("out"));
    BufferedImage picture = ImageIO.read(directory.resolve("out/loss.png").toFile());
    assertEquals(picture.getWidth(), LossPicture.WIDTH);
    assertEquals(picture.getHeight(), LossPicture.HEIGHT);
    int blue = 0;
    int orange = 0;
    for (int x = 0; x < picture.getWidth(); x++) {
      for (int y = 0; y < picture.getHeight(); y++) {
        int rgb = picture.getRGB(x, y) & 0xffffff;
        blue += rgb == 0x2563eb ? 1 : 0;
        orange += rgb == 0xe8590c ? 1 : 0;
      }
    }
    assertTrue(blue > 1000 && orange > 1000, blue + " blue, " + orange + " orange");
  }

  @Test
  public void summaryOnOneLine() throws IOException {
    CompareReport report = twins(200);
    double dense = report.runs().get(0).finalValidationLoss().get();
    double moe = report.runs().get(1).finalValidationLoss().get();
    assertEquals(
        report.summary(),
        "validation loss: dense %s (perplexity %s), %s %s (perplexity %s); %s is %s lower"
            .formatted(
                PythonFormat.fixed(dense, 4),
                PythonFormat.fixed(Math.exp(dense), 3),
                NASTY,
                PythonFormat.fixed(moe, 4),
                PythonFormat.fixed(Math.exp(moe), 3),
                NASTY,
                PythonFormat.fixed(dense - moe, 4)));
  }

  @Test
  public void pageIsTheSameInEveryLanguage() throws IOException {
    CompareReport report = twins(100);
    String expected = Files.readString(report.write(directory.resolve("out")));
    Locale before = Locale.getDefault();
    try {
      for (String tag : List.of("de-DE", "ar-EG-u-nu-arab", "tr-TR")) {
        Locale.setDefault(Locale.forLanguageTag(tag));
        assertEquals(Files.readString(report.write(directory.resolve("out"))), expected);
      }
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  public void oddRuns() throws IOException {
    // One training point only, and a name twice; one that diverged; one with experts that drop.
    Path once = directory.resolve("once");
    try (MetricsWriter writer = MetricsWriter.create(once, MadeUpRun.config("same", 0))) {
      writer.train(MadeUpRun.iteration(1, 1, 0, random));
    }
    Path diverged = directory.resolve("diverged");
    try (MetricsWriter writer = MetricsWriter.create(diverged, MadeUpRun.config("same", 0))) {
      writer.validation(
          new ValidationRecord(
              1, 1, ValidationRecord.Set.TRAINING, java.util.Map.of("lm loss", Double.NaN)));
    }
    Path drops = directory.resolve("drops");
    try (MetricsWriter writer = MetricsWriter.create(drops, MadeUpRun.config("drops", 96))) {
      writer.train(MadeUpRun.iteration(1, 1, 96, random));
      List<Long> tokens = new ArrayList<>(java.util.Collections.nCopies(96, 0L));
      tokens.set(5, 1000L);
      writer.expertLoad(1, 16, new ExpertLoad(List.of(new ExpertLoad.Layer(7, tokens, 24))));
    }
    CompareReport report = CompareReport.of(List.of(once, diverged, drops));
    String page = Files.readString(report.write(directory.resolve("out")));
    assertTrue(page.contains("same (" + once.toAbsolutePath() + ")"));
    assertTrue(page.contains("Dropped assignments"));
    assertTrue(page.contains("something is wrong in 1 of 1 layers"));
    assertTrue(page.contains("95 of 96 experts take less than a tenth of their share"));
    assertFalse(page.contains("NaN"));
    assertFalse(page.contains("Infinity"));
    CompareReport.of(List.of(diverged)).write(directory.resolve("out"));
  }

  /** The page says of each run with experts what {@link LoadFindings} says. */
  @Test
  public void theLoadIsPutIntoWords() throws IOException {
    CompareReport report = twins(400);
    String page = Files.readString(report.write(directory.resolve("out")));
    List<String> sentences = LoadFindings.of(report.runs().get(1).expertLoad(), true);
    assertTrue(sentences.get(0).contains("the load is balanced"), sentences.get(0));
    for (String sentence : sentences) {
      assertTrue(page.contains("<p>" + Markup.escape(sentence) + "</p>"), sentence);
    }
    assertEquals(page.split("class=\"card findings\"", -1).length - 1, 1);
    // A record that says nothing but the load, as older ones do.
    Path old = directory.resolve("old");
    try (MetricsWriter writer = MetricsWriter.create(old, MadeUpRun.config("old", 4))) {
      writer.train(MadeUpRun.iteration(1, 1, 4, random));
      List<Long> tokens = List.of(9L, 10L, 11L, 10L);
      writer.expertLoad(1, 16, new ExpertLoad(List.of(new ExpertLoad.Layer(1, tokens, 0))));
    }
    page = Files.readString(CompareReport.of(List.of(old)).write(directory.resolve("out")));
    assertTrue(page.contains("Up to step 1 the load is balanced"));
    assertFalse(page.contains("Router entropy"));
  }

  @Test
  public void errorsNameThePath() throws IOException {
    Path missing = directory.resolve("nowhere");
    assertEquals(
        expectThrows(IOException.class, () -> CompareReport.of(List.of(missing))).getMessage(),
        "there is no run at " + missing);
    MetricsWriter.create(directory, MadeUpRun.config("begun", 0)).close();
    assertEquals(
        expectThrows(IOException.class, () -> CompareReport.of(List.of(directory))).getMessage(),
        "the run at " + directory + " has recorded no loss yet");
    expectThrows(IllegalArgumentException.class, () -> CompareReport.of(List.of()));
  }
}
