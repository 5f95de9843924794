package moe4j.examples.library;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.testng.annotations.Test;

/** What a project gets that imports moe4j's BOM. */
public class BomTest {
  private static final Path ROOT = Path.of(System.getProperty("moe4j.root"));

  private static String pom(String module) throws IOException {
    return Files.readString(ROOT.resolve(module).resolve("pom.xml"));
  }

  private static List<String> all(String tag, String xml) {
    Matcher matcher = Pattern.compile("<%1$s>([^<]*)</%1$s>".formatted(tag)).matcher(xml);
    List<String> values = new ArrayList<>();
    while (matcher.find()) {
      values.add(matcher.group(1));
    }
    return values;
  }

  /** The artefact that a module's pom makes: behind its parent, in front of its dependencies. */
  private static String artifact(String pom) {
    String own = pom.replaceAll("(?s)<parent>.*?</parent>", "");
    return all("artifactId", own).get(0);
  }

  @Test
  public void listsEveryModuleThatIsPublished() throws IOException {
    TreeSet<String> published = new TreeSet<>();
    for (String module : all("module", pom(""))) {
      String pom = pom(module);
      if (!module.equals("bom") && !pom.contains("<maven.deploy.skip>true<")) {
        published.add(artifact(pom));
      }
    }
    Matcher managed =
        Pattern.compile("(?s)<dependencyManagement>(.*)</dependencyManagement>")
            .matcher(pom("bom"));
    assertTrue(managed.find());
    assertEquals(new TreeSet<>(all("artifactId", managed.group(1))), published);
    assertEquals(
        new TreeSet<>(all("version", managed.group(1))).toString(), "[${project.version}]");
  }

  /** It has no parent whose version it could share, so that a release has to set both. */
  @Test
  public void hasTheVersionOfAllOthers() throws IOException {
    String version = all("version", pom("")).get(0);
    for (String module : all("module", pom(""))) {
      assertEquals(all("version", pom(module)).get(0), version, module);
    }
  }

  /** Both are uploaded by one command, so that both are signed by the same plugins. */
  @Test
  public void itsReleaseIsThatOfAllOthers() throws IOException {
    for (String plugin : List.of("maven-gpg-plugin", "central-publishing-maven-plugin")) {
      Pattern declared =
          Pattern.compile("<artifactId>" + plugin + "</artifactId>\\s*<version>(.*?)<");
      Matcher ours = declared.matcher(pom("bom"));
      Matcher others = declared.matcher(pom(""));
      assertTrue(ours.find() && others.find(), plugin);
      assertEquals(ours.group(1), others.group(1), plugin);
    }
  }
}
