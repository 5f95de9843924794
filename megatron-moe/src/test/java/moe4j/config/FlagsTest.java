package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.model.gpt.GptFamily;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class FlagsTest {
  private final Random random = Seeds.random(FlagsTest.class);

  /** One flag of each kind. */
  record Sample(
      @Flag(help = "how many", required = true) int count,
      @Flag(help = "long", value = "-7") long far,
      @Flag(help = "double", value = "0.5") double share,
      @Flag(help = "switch") boolean bf16,
      @Flag(
              help = "choice",
              value = "one",
              choices = {"one", "two"})
          String kind,
      @Flag(help = "text") String text,
      @Flag(help = "int or not", otherwise = "count") Integer maybeInt,
      @Flag(help = "long or not") Long maybeLong,
      @Flag(help = "double or not") Double maybeDouble,
      @Flag(help = "several") List<String> dataPath) {

    Sample {
      if (count == 13) {
        throw new IllegalArgumentException("--count 13 is unlucky");
      }
    }
  }

  private record Other(
      @Flag(help = "one more") boolean last, @Flag(help = "x", value = "3") int xSize) {}

  record Clash(@Flag(help = "again") boolean bf16) {}

  /** Flags that have no effect without another. */
  record Dependent(
      @Flag(help = "output") String save,
      @Flag(help = "all") boolean indices,
      @Flag(help = "shape", value = "flat") String shape,
      @Flag(help = "keep", value = "-1", needs = "save") int keep,
      @Flag(help = "seed", value = "3", needs = "indices") long seed,
      @Flag(help = "turned", needs = "shape round") boolean turned,
      @Flag(help = "parts", needs = "save") List<String> parts,
      @Flag(help = "width", needs = "shape round") Double width) {}

  record Astray(@Flag(help = "astray", needs = "nothing") boolean astray) {}

  private static Sample parse(String line) {
    return Flags.parse(Sample.class, Refusals.words(line));
  }

  private static String refusal(String line) {
    return Refusals.of(Sample.class, line);
  }

  @Test
  public void defaultsByComponent() {
    Map<String, Object> defaults = new LinkedHashMap<>();
    defaults.put("far", -7L);
    defaults.put("share", 0.5);
    defaults.put("bf16", false);
    defaults.put("kind", "one");
    defaults.put("text", null);
    defaults.put("maybeInt", null);
    defaults.put("maybeLong", null);
    defaults.put("maybeDouble", null);
    defaults.put("dataPath", List.of());
    assertEquals(Flags.defaults(Sample.class), defaults);
  }

  @Test
  public void whatIsNotTypedHasItsDefault() {
    assertEquals(
        parse("--count 3"),
        new Sample(3, -7, 0.5, false, "one", null, null, null, null, List.of()));
  }

  @Test
  public void everyTypeIsRead() {
    assertEquals(
        parse(
            "--data-path 0.3 a 0.7 b --count 4 --far 9000000000 --share 1e-5 --bf16 --kind two"
                + " --text hello --maybe-int 0 --maybe-long 1 --maybe-double .25"),
        new Sample(
            4,
            9_000_000_000L,
            1e-5,
            true,
            "two",
            "hello",
            0,
            1L,
            0.25,
            List.of("0.3", "a", "0.7", "b")));
  }

  @Test
  public void negativeNumbersAreValues() {
    assertEquals(
        parse("--count -3 --share -1e-5 --maybe-double -.5 --maybe-long -9 --data-path -1 -2.5 a"),
        new Sample(-3, -7, -1e-5, false, "one", null, null, -9L, -0.5, List.of("-1", "-2.5", "a")));
    assertEquals(parse("--count=-3").count(), -3);
  }

  @Test
  public void aRepeatedFlagTakesTheLast() {
    assertEquals(parse("--count 1 --count 2 --bf16 --bf16").count(), 2);
    assertEquals(parse("--count 1 --data-path a b --bf16 --data-path c").dataPath(), List.of("c"));
  }

  @Test
  public void valuesAreTakenAsTheyAre() {
    String[] texts = {
      "", "-", "\"quoted\"", "'x'", "a=b", "a b\nc", "- item", "--", "--far", "-x=y"
    };
    for (String text : texts) {
      assertEquals(Flags.parse(Sample.class, "--count=1", "--text=" + text).text(), text);
    }
    for (String text : Arrays.copyOf(texts, 7)) {
      assertEquals(Flags.parse(Sample.class, "--count", "1", "--text", text).text(), text);
      assertEquals(
          Flags.parse(Sample.class, "--count", "1", "--data-path", "a", text).dataPath(),
          List.of("a", text));
    }
  }

  @Test
  public void anUnknownFlagIsRefusedWithTheNearest() {
    String sentence = "unknown flag --maybe-lung; did you mean --maybe-long?";
    assertEquals(refusal("--count 1 --maybe-lung 3"), sentence);
    assertEquals(refusal("--maybe-lung=3 --count 1"), sentence);
    // Not the value of the flag before it.
    assertEquals(refusal("--count 1 --data-path a b --maybe-lung 3"), sentence);
    assertEquals(
        Refusals.all(Flags.of(Sample.class), "--count 1 --text --maybe-lung 3"),
        List.of("--text needs a value behind it", sentence));
    assertEquals(refusal("--count 1 --dropout-of-all 3"), "unknown flag --dropout-of-all");
    assertEquals(refusal("--count 1 -x"), "unknown flag -x");
    assertEquals(refusal("--count 1 -5"), "unknown flag -5");
  }

  @Test
  public void abbreviationsAreRefused() {
    for (String name : Flags.of(Sample.class).names()) {
      for (int length = 1; length < name.length(); length++) {
        String typed = "--" + name.substring(0, length);
        String sentence = refusal("--count 1 " + typed + " 1");
        assertTrue(sentence.startsWith("unknown flag " + typed), sentence);
      }
      assertEquals(
          refusal("--count 1 -" + name + " 1"),
          "unknown flag -" + name + "; did you mean --" + name + "?");
    }
  }

  @Test
  public void aMissingValueIsNamed() {
    for (String flag : List.of("count", "text", "share", "kind", "data-path")) {
      String sentence = "--" + flag + " needs a value behind it";
      assertEquals(refusal("--count 1 --" + flag), sentence);
      assertEquals(refusal("--" + flag + " --bf16"), sentence);
      assertEquals(refusal("--" + flag + " --maybe-int 3"), sentence);
    }
  }

  @DataProvider
  public Object[][] malformed() {
    return new Object[][] {
      {"count", "x"},
      {"count", "1.5"},
      {"count", "1e3"},
      {"count", "3000000000"},
      {"count", ""},
      {"count", "1_000"},
      {"far", "0x10"},
      {"far", "9223372036854775808"},
      {"maybe-int", "2-"},
      {"maybe-long", "2L"},
      {"share", "NaN"},
      {"share", "Infinity"},
      {"share", "1e999"},
      {"share", "1f"},
      {"share", "0x1p3"},
      {"share", "1,5"},
      {"maybe-double", "half"},
      {"maybe-double", "1e"},
    };
  }

  @Test(dataProvider = "malformed")
  public void aMalformedNumberIsNamed(String flag, String value) {
    String kind = flag.equals("share") || flag.equals("maybe-double") ? "number" : "whole number";
    assertEquals(
        refusal("--count 1 --" + flag + "=" + value),
        "--%s takes a %s, not '%s'".formatted(flag, kind, value));
  }

  @Test
  public void aSwitchTakesNoValue() {
    assertEquals(refusal("--count 1 --bf16=true"), "--bf16 takes no value");
    assertEquals(
        Flags.of(Sample.class).parse("--count", "1", "--bf16", "true").positional(),
        List.of("true"));
  }

  @Test
  public void requiredFlagsAndChoicesAreAskedFor() {
    assertEquals(refusal("--bf16"), "--count is required");
    assertEquals(refusal("--count 1 --kind three"), "--kind takes one, two, not 'three'");
    assertEquals(refusal("--count 1 --kind TWO"), "--kind takes one, two, not 'TWO'");
  }

  @Test
  public void whatTheRecordRefusesIsPassedOn() {
    assertEquals(refusal("--count 13"), "--count 13 is unlucky");
  }

  @DataProvider
  public Object[][] withoutEffect() {
    return new Object[][] {
      {"--keep 4", "--keep needs --save"},
      {"--indices --keep 4", "--keep needs --save"},
      {"--parts a b", "--parts needs --save"},
      {"--save x --seed 4", "--seed needs --indices"},
      {"--turned", "--turned needs --shape round"},
      {"--shape square --turned", "--turned needs --shape round"},
      {"--shape round --shape flat --width 0.5", "--width needs --shape round"},
    };
  }

  @Test(dataProvider = "withoutEffect")
  public void aFlagThatNeedsAnotherNamesIt(String line, String sentence) {
    assertEquals(Refusals.of(Dependent.class, line), sentence);
  }

  @Test
  public void withWhatTheyNeedAndAtTheirDefaultsFlagsAreTaken() {
    String all =
        "--keep 4 --save x --parts a --seed 4 --indices --turned --width 0.5 --shape round";
    assertEquals(
        Flags.parse(Dependent.class, Refusals.words(all)),
        new Dependent("x", true, "round", 4, 4, true, List.of("a"), 0.5));
    assertEquals(
        Flags.parse(Dependent.class, Refusals.words("--keep -1 --seed 3")),
        new Dependent(null, false, "flat", -1, 3, false, List.of(), null));
    assertThrows(IllegalStateException.class, () -> Flags.of(Astray.class));
    String help = Flags.of(Dependent.class).help();
    assertTrue(help.contains("keep (default -1; needs --save)\n"), help);
    assertTrue(help.contains("turned (needs --shape round)\n"), help);
  }

  @Test
  public void recordsShareALine() {
    // Records may be private to the command that has them.
    Flags flags = Flags.of(Sample.class, Other.class);
    Flags.Parsed parsed =
        flags.parse("run1", "--x-size", "5", "--count", "2", "run2", "--last", "--", "--count");
    assertEquals(parsed.get(Sample.class), parse("--count 2"));
    assertEquals(parsed.get(Other.class), new Other(true, 5));
    assertEquals(parsed.positional(), List.of("run1", "run2", "--count"));
    assertThrows(IllegalStateException.class, () -> Flags.of(Sample.class, Clash.class));
  }

  /** What stands behind belongs to another program, whatever it looks like. */
  @Test
  public void flagsBeforeACommand() {
    Flags flags = Flags.of(Other.class).beforeCommand();
    List<String> command = List.of("sh", "-c", "echo 'a b'", "--x-size", "9", "--", "--help", "");
    for (String line : List.of("--x-size 5 --last --", "--x-size 5 --last", "--last --x-size=5")) {
      List<String> words = new ArrayList<>(Arrays.asList(Refusals.words(line)));
      words.addAll(command);
      Flags.Parsed parsed = flags.parse(words.toArray(new String[0]));
      assertEquals(parsed.get(Other.class), new Other(true, 5), line);
      assertEquals(parsed.positional(), command, line);
      assertFalse(flags.askForHelp(words.toArray(new String[0])), line);
    }
    assertEquals(flags.parse("--", "--last").positional(), List.of("--last"));
    assertEquals(flags.parse("--last").positional(), List.of());
    assertEquals(Refusals.of(flags, "--lasst sh"), "unknown flag --lasst; did you mean --last?");
    assertEquals(Refusals.of(flags, "--x-size -- sh"), "--x-size needs a value behind it");
    assertEquals(Refusals.of(flags, "--x-size"), "--x-size needs a value behind it");
    assertTrue(flags.askForHelp("--x-size", "5", "--help"));
    assertTrue(Flags.of(Other.class).askForHelp("run", "--help"));
    assertFalse(Flags.of(Other.class).askForHelp("--", "--help"));
  }

  @Test
  public void helpListsEveryFlagWithItsDefault() {
    String help = Flags.of(Sample.class, Other.class).help();
    for (String line :
        List.of(
            "--count N how many (required)",
            "--far N long (default -7)",
            "--share X double (default 0.5)",
            "--bf16 switch",
            "--kind {one,two} choice (default one)",
            "--text TEXT text (default: none)",
            "--maybe-int N int or not (default: count)",
            "--maybe-double X double or not (default: none)",
            "--data-path A [B ...] several (default: none)",
            "--x-size N x (default 3)")) {
      assertTrue(help.lines().anyMatch(l -> l.strip().replaceAll(" +", " ").equals(line)), line);
    }
    assertEquals(help.lines().filter(l -> l.endsWith(":")).toList(), List.of("Sample:", "Other:"));
  }

  @Test
  public void theHelpOfARunIsWholeAndNarrow() {
    String help = new GptFamily().flags().help();
    for (String name : new GptFamily().flags().names()) {
      assertTrue(help.lines().anyMatch(l -> (l + " ").startsWith("  --" + name + " ")), name);
    }
    help.lines().forEach(line -> assertTrue(line.length() <= 118, line));
    assertTrue(
        help.replaceAll("\\s+", " ")
            .contains(
                "--lr-decay-iters N iterations until the lowest learning rate (default: train-iters)"));
  }

  @Test
  public void argumentsHaveMegatronsNames() {
    Map<String, Object> arguments = Flags.arguments(parse("--count 2 --data-path a b"));
    assertEquals(
        List.copyOf(arguments.keySet()),
        List.of(
            "count",
            "far",
            "share",
            "bf16",
            "kind",
            "text",
            "maybe_int",
            "maybe_long",
            "maybe_double",
            "data_path"));
    assertEquals(arguments.get("data_path"), List.of("a", "b"));
    assertEquals(arguments.get("far"), -7L);
    assertEquals(arguments.get("bf16"), false);
  }

  @Test
  public void aRecordsCommandLineGivesItAgain() {
    for (int round = 0; round < 500; round++) {
      Sample sample =
          new Sample(
              random.nextInt(13),
              random.nextLong(),
              random.nextGaussian() * Math.pow(10, random.nextInt(40) - 20),
              random.nextBoolean(),
              random.nextBoolean() ? "one" : "two",
              random.nextBoolean() ? null : text("-\"'=, ab\n1"),
              random.nextBoolean() ? null : random.nextInt(),
              random.nextBoolean() ? null : random.nextLong(),
              random.nextBoolean() ? null : random.nextDouble() - 0.5,
              texts());
      List<String> line = Flags.commandLine(sample);
      assertEquals(Flags.parse(Sample.class, line.toArray(String[]::new)), sample, line.toString());
      List<String> less = Flags.shortCommandLine(sample);
      assertEquals(Flags.parse(Sample.class, less.toArray(String[]::new)), sample, less.toString());
      assertTrue(line.containsAll(less), less.toString());
    }
  }

  @Test
  public void theShortCommandLineLeavesDefaultsOut() {
    String typed = "--count 0 --bf16 --kind two --maybe-int 7 --data-path a b";
    assertEquals(
        String.join(" ", Flags.shortCommandLine(parse(typed + " --far -7 --share 0.5"))), typed);
    assertEquals(Flags.shortCommandLine(parse("--count 0 --kind one")), List.of("--count", "0"));
  }

  private List<String> texts() {
    List<String> texts = new ArrayList<>();
    for (int i = random.nextInt(4); i > 0; i--) {
      texts.add(text("/\"'=, ab\n1"));
    }
    return texts;
  }

  private String text(String letters) {
    StringBuilder text = new StringBuilder();
    for (int i = random.nextInt(6); i > 0; i--) {
      text.append(letters.charAt(random.nextInt(letters.length())));
    }
    return text.toString();
  }
}
