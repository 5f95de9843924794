package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import moe4j.checkpoint.CheckpointStore;
import moe4j.model.RunJson;
import moe4j.testing.TempDir;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Runs that moe4j 0.1 has saved after three steps of six, before checkpoints named their model's
 * family: they are evaluated and go on as that version did both.
 */
public class OlderCheckpointsTest {
  private static final double TOLERANCE = 1e-5;
  private static final String CORPUS = " --split-bytes 440,80,80 --data-file ";
  private static final String TXL =
      "--n-layer 1 --d-model 4 --n-head 1 --d-head 4 --d-inner 4 --tgt-len 4 --mem-len 6"
          + " --eval-tgt-len 2 --batch-size 2 --eval-batch-size 2 --max-step 6 --lr 0.1"
          + " --warmup-step 2 --dropout 0.1 --log-interval 1 --eval-interval 3 --num-threads 1"
          + " --seed 7 --init-std 0.3";
  private static final String EXPERTS =
      " --num-experts 3 --top-k 2 --moe-ffn-hidden-size 4 --add-expert-bias"
          + " --moe-aux-loss-coeff 0.02";
  private static final String GPT =
      "--num-layers 2 --hidden-size 4 --num-attention-heads 2 --seq-length 8 --micro-batch-size 2"
          + " --global-batch-size 4 --train-iters 6 --lr 0.1 --mock-data --vocab-size 20"
          + " --make-vocab-size-divisible-by 4 --num-experts 3 --moe-ffn-hidden-size 4"
          + " --moe-router-topk 2 --moe-layer-freq 2 --log-interval 1 --eval-interval 3"
          + " --eval-iters 2 --save-interval 3 --num-threads 1 --lr-warmup-iters 2"
          + " --hidden-dropout 0.1 --init-method-std 0.3";

  /** Writes a saved run into a directory. */
  private static Path saved(TempDir folder, String name) throws IOException {
    Path directory = folder.path(name);
    try (InputStream file = resource(name + ".zip");
        ZipInputStream zip = new ZipInputStream(file)) {
      for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
        Path to = directory.resolve(entry.getName());
        Files.createDirectories(to.getParent());
        Files.write(to, zip.readAllBytes());
      }
    }
    return directory;
  }

  private static InputStream resource(String name) {
    return OlderCheckpointsTest.class.getResourceAsStream("/saved/" + name);
  }

  private static Path text(TempDir folder) throws IOException {
    try (InputStream text = resource("text.txt")) {
      return Files.write(folder.path("text"), text.readAllBytes());
    }
  }

  /** The losses of steps and evaluations that a run's record has behind the third step. */
  private static List<Double> losses(Path directory) throws IOException {
    ObjectMapper json = new ObjectMapper();
    List<Double> losses = new ArrayList<>();
    for (String line : Files.readAllLines(directory.resolve("metrics.jsonl"))) {
      JsonNode record = json.readTree(line);
      boolean measured = List.of("train", "validation").contains(record.get("kind").asText());
      if (measured && record.get("step").asInt() > 3) {
        losses.add(record.get("values").get("lm loss").asDouble());
      }
    }
    return losses;
  }

  private static void assertClose(List<Double> actual, double... expected) {
    assertEquals(actual.size(), expected.length, actual.toString());
    for (int i = 0; i < expected.length; i++) {
      assertEquals(actual.get(i), expected[i], TOLERANCE);
    }
  }

  private static String family(Path directory) throws IOException {
    return RunJson.familyOf(
            new CheckpointStore(directory, -1).newest().orElseThrow().run().configuration())
        .name();
  }

  @DataProvider
  public Object[][] transformerXls() {
    return new Object[][] {
      {
        "txl-dense",
        "",
        "| valid loss  2.05 | valid bpc   2.95607 | test loss  2.11 | test bpc   3.05127 ",
        new double[] {
          2.197101354598999,
          2.1200501918792725,
          1.9791984558105469,
          2.0075202793688387,
          2.003507427267126
        }
      },
      {
        "txl-experts",
        EXPERTS,
        "| valid loss  2.04 | valid bpc   2.93778 | test loss  2.11 | test bpc   3.04231 ",
        new double[] {
          2.2197728157043457,
          2.084730863571167,
          1.9361107349395752,
          1.98004741926451,
          1.981471435443775
        }
      },
    };
  }

  @Test(dataProvider = "transformerXls")
  public void aTransformerXl(String name, String experts, String evaluated, double[] trained)
      throws IOException {
    try (TempDir folder = new TempDir()) {
      Path work = saved(folder, name);
      Path text = text(folder);
      assertEquals(family(work), "txl");
      String flags = " --tgt-len 3 --mem-len 5 --batch-size 2 --load ";
      Console evaluation = Console.command("evaluate-txl" + CORPUS + text + flags + work).ok();
      assertTrue(evaluation.out().contains(evaluated), evaluation.out());
      // Nor does it tell how its run was evaluated: as it was trained, then.
      Console plain = Console.command("evaluate" + CORPUS + text + " --load " + work).ok();
      assertTrue(plain.out().contains("bsz 10 tgt_len 4 ext_len 0 mem_len 6 "), plain.out());
      assertTrue((plain.out() + plain.err()).contains("does not tell how its run was evaluated"));
      // It does not tell where its corpus lies, only which it is.
      String generate = "generate --max-new-tokens 5 --temperature 0 --prompt bad --load " + work;
      assertTrue(Console.command(generate).refusal(2).contains("names no corpus"));
      String written = Console.command(generate + CORPUS + text).ok().out().strip();
      assertTrue(written.matches("bad[abcdefn ]{0,5}"), written);
      String all = Files.readString(text);
      String mirrored = new StringBuilder(all).reverse().toString();
      Path another = Files.writeString(folder.path("another"), mirrored);
      Console warned = Console.command(generate + CORPUS + another).ok();
      assertTrue(
          (warned.out() + warned.err()).contains("has learnt the symbols of the corpus 440,80,80-"),
          warned.out() + warned.err());
      Path other = Files.writeString(folder.path("other"), "a bad cafe fed cab\n".repeat(40));
      assertTrue(
          Console.command(generate + CORPUS + other)
              .refusal(2)
              .contains("knows 8 symbols, and the data with --vocabulary upstream have 7"));
      Console training =
          Console.command(
                  "pretrain-txl " + TXL + experts + CORPUS + text + " --restart --work-dir " + work)
              .ok();
      String said = training.out() + training.err();
      assertTrue(said.contains("loaded checkpoint"), said);
      assertFalse(said.contains("in the checkpoint's run"), said);
      assertClose(losses(work), trained);
      // What goes on from it tells its family and its data.
      JsonNode now = new CheckpointStore(work, -1).newest().orElseThrow().run().configuration();
      assertEquals(now.get(RunJson.FAMILY).asText(), "txl");
      assertEquals(now.path("model").path("dInner").asInt(), 4);
      assertEquals(now.path("data").path("dataFile").asText(), text.toString());
      assertFalse(now.has("own"));
      assertEquals(Console.command(generate).ok().out().strip().substring(0, 3), "bad");
    }
  }

  @Test
  public void aGpt() throws IOException {
    try (TempDir folder = new TempDir()) {
      Path save = saved(folder, "gpt");
      assertEquals(family(save), "gpt");
      Console evaluation = Console.command("evaluate --samples 16 --load " + save).ok();
      assertTrue(evaluation.out().contains("lm loss value: 3.22812"), evaluation.out());
      Console training =
          Console.command("pretrain-gpt " + GPT + " --load " + save + " --save " + save).ok();
      String said = training.out() + training.err();
      assertTrue(said.contains("loaded checkpoint"), said);
      assertFalse(said.contains("in the checkpoint's run"), said);
      assertClose(
          losses(save),
          3.0703108310699463,
          3.100072145462036,
          3.2104251384735107,
          3.241217076778412,
          3.1126458644866943,
          3.357487201690674);
    }
  }
}
