package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Runs with a {@code tokenizer.json} of words, which has no end-of-document token. */
public class TokenizerFileTest {
  private static final int WORDS = 100;

  private final Random random = Seeds.random(TokenizerFileTest.class);
  private Workspace workspace;
  private Path tokenizer;
  private Path run;
  private List<String> train;

  @BeforeClass
  public void trainOnWords() throws IOException {
    workspace = new Workspace();
    tokenizer = workspace.path("tokenizer.json");
    writeTokenizer(WORDS);
    String text =
        random.ints(3000, 0, WORDS).mapToObj(i -> "w" + i).collect(Collectors.joining(" "));
    Files.writeString(workspace.path("text.txt"), text);
    Cli.run(
            "preprocess --tokenizer-type HuggingFaceTokenizer --input",
            workspace.path("text.txt"),
            "--output-prefix",
            workspace.path("words"),
            "--tokenizer-model",
            tokenizer)
        .ok();
    run = workspace.path("run");
    train =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --lr 1e-2 --train-iters 2 --eval-iters 0 --log-interval 1"
                + " --num-threads 1 --tokenizer-type HuggingFaceTokenizer"
                + " --tokenizer-model",
            tokenizer,
            "--data-path",
            workspace.path("words_text_document"));
    Cli.run(Cli.with(train, "--save", run)).ok();
  }

  @AfterClass
  public void deleteRun() throws IOException {
    workspace.close();
  }

  private void writeTokenizer(int words) throws IOException {
    String vocabulary =
        IntStream.range(0, words)
            .mapToObj("\"w%1$d\": %1$d"::formatted)
            .collect(Collectors.joining(", "));
    Files.writeString(
        tokenizer,
        """
        {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
         "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
         "decoder": null,
         "model": {"type": "WordLevel", "unk_token": "w0", "vocab": {%s}}}
        """
            .formatted(vocabulary));
  }

  @Test
  public void modelsDoWithoutAnEndOfDocument() {
    assertTrue(Cli.run("evaluate --part train --load", run).ok().out().contains("lm loss value"));
    String text =
        Cli.run("generate --max-new-tokens 5 --load", run, "--prompt", "w3 w5").ok().out();
    assertTrue(text.matches("w3 w5( w\\d+){5}\\s+"), text);
  }

  @Test
  public void whatNeedsAnEndOfDocumentNamesItself() {
    for (String flag :
        List.of("--reset-position-ids", "--reset-attention-mask", "--eod-mask-loss")) {
      refused(Cli.with(train, flag), flag + " needs an end-of-document token");
    }
    List<String> mock = train.subList(0, train.indexOf("--data-path"));
    refused(Cli.with(mock, "--mock-data"), "--mock-data needs an end-of-document token");
    refused(Cli.arguments("generate --load", run), "--prompt is needed");
  }

  /** Ids that the embedding has no rows for would be read from beyond its end. */
  @Test
  public void aTokenizerThatGrewIsRefused() throws IOException {
    writeTokenizer(500);
    try {
      for (String command : List.of("evaluate --part train", "generate --prompt w400")) {
        refused(Cli.arguments(command + " --load", run), "has 500 ids", "embeddings for 128");
      }
    } finally {
      writeTokenizer(WORDS);
    }
  }

  private static void refused(List<String> line, String... named) {
    Cli.Result result = Cli.run(line);
    assertEquals(result.status(), 2, result.out() + result.err());
    for (String name : named) {
      assertTrue(result.err().contains(name), name + " is missing in " + result.err());
    }
  }
}
