package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.testng.annotations.Test;

/** {@code moe4j check}: the answer to a line, or to many, without running any. */
public class CheckCommandTest {
  private static final String LINE =
      "pretrain-gpt --num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 32"
          + " --micro-batch-size 2 --train-iters 4 --lr 1e-4 --mock-data --vocab-size 60";

  /** Runs {@code check --stdin} on some text. */
  private static Cli.Result lines(String text) {
    InputStream before = System.in;
    System.setIn(new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)));
    try {
      return Cli.run("check --stdin");
    } finally {
      System.setIn(before);
    }
  }

  @Test
  public void aGoodLineIsTakenAndNotRun() {
    Cli.Result result =
        Cli.run("check --processes 4 -- " + LINE + " --split 99,1,0 --manual-gc").ok();
    assertEquals(
        result.out().lines().toList(),
        List.of(
            "taken without effect here: --manual-gc, --split 99,1,0",
            "moe4j pretrain-gpt takes this line"));
  }

  /** What depends on the number of processes is told with the rest. */
  @Test
  public void allThatIsWrongIsTold() {
    String line = LINE + " --fp16 --global-batch-size 12";
    Cli.Result result = Cli.run("check --processes 4 -- " + line);
    assertEquals(result.status(), 2);
    assertEquals(result.out(), "");
    assertTrue(result.err().contains("--fp16 is a flag of Megatron's"), result.err());
    assertTrue(result.err().contains("--global-batch-size 12 is no multiple"), result.err());
    assertTrue(!Cli.run("check --processes 3 -- " + line).err().contains("no multiple"));
    assertTrue(Cli.run("check -- train").err().contains("there is no command 'train'"));
    assertEquals(Cli.run("check --processes 4").status(), 2);
    assertEquals(Cli.run("check --stdin -- " + LINE).status(), 2);
    assertTrue(
        Cli.run("check --processes 0 -- " + LINE).err().contains("--processes 0 is not positive"));
  }

  @Test
  public void manyLinesGetAnObjectEach() throws IOException {
    String words = "\"" + LINE.replace(" ", "\", \"") + "\"";
    Cli.Result result =
        lines(
            "{\"args\": [%s, \"--use-mcore-models\"]}\n\n".formatted(words)
                + "{\"args\": [%s, \"--fp16\", \"--global-batch-size\", \"12\"],".formatted(words)
                + " \"processes\": 4}\n");
    List<String> answers = result.ok().out().lines().toList();
    assertEquals(answers.size(), 2, result.out());
    JsonNode good = new ObjectMapper().readTree(answers.get(0));
    assertEquals(
        good.toString(),
        "{\"taken\":true,\"withoutEffect\":[\"--use-mcore-models\"],\"refused\":[]}");
    JsonNode bad = new ObjectMapper().readTree(answers.get(1));
    assertEquals(bad.get("taken").asBoolean(), false);
    assertEquals(bad.get("refused").size(), 2, bad.toString());
  }

  @Test
  public void aLineThatIsNoObjectIsNamed() {
    Cli.Result torn = lines("{\"args\": [\"pretrain-gpt\"]}\n{\"args\"\n");
    assertEquals(torn.status(), 2, torn.err());
    assertTrue(torn.err().contains("--stdin: line 2 is no JSON: write lines such"), torn.err());
    assertTrue(lines("[]\n").err().contains("line 1 is no object with a list args"));
  }
}
