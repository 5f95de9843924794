package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

/** One command a verb: the kind of model comes from --model or from the checkpoint. */
public class KindsOfModelsTest {
  private static final String GPT =
      " --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
          + " --micro-batch-size 2 --lr 1e-2 --mock-data --vocab-size 32 --train-iters 1"
          + " --eval-iters 1";

  private final Random random = Seeds.random(KindsOfModelsTest.class);

  @Test
  public void aVerbAsksForTheKind() {
    for (String verb : new String[] {"pretrain", "bench model"}) {
      assertTrue(Console.command(verb + " --lr 1").refusal(2).contains("--model is required: "));
      assertTrue(
          Console.command(verb + " --model bert")
              .refusal(2)
              .contains("there is no kind of model 'bert': there are "));
      assertTrue(Console.command(verb + " --help").ok().out().contains("--model TEXT"));
      assertTrue(Console.command(verb + " --model=txl --help").ok().out().contains("--n-layer N"));
      assertTrue(
          Console.command(verb + " --model gpt --help").ok().out().contains("--num-layers N"));
    }
  }

  @Test
  public void aLineOfAVerbIsTheKindsOwn() {
    assertEquals(
        Console.command("check -- pretrain --model gpt" + GPT).ok().out(),
        "moe4j pretrain takes this line\n");
    assertEquals(
        Console.command("check -- pretrain-gpt" + GPT).ok().out(),
        "moe4j pretrain-gpt takes this line\n");
    // A Transformer-XL has other flags.
    Console other = Console.command("check -- pretrain --model txl" + GPT);
    assertEquals(other.status(), 2);
    assertTrue(other.err().contains("unknown flag --num-layers; this command calls it --n-layer"));
    String evaluated = Console.command("check -- evaluate-txl --load x --seq-length 9").err();
    assertTrue(evaluated.contains("--seq-length; this command calls it --tgt-len"), evaluated);
  }

  @Test
  public void evaluateAsksTheCheckpoint() throws IOException {
    try (TempDir folder = new TempDir()) {
      Path text = folder.text("text", random, 1200);
      Path txl = folder.path("txl");
      String split = " --split-bytes 600,300,300";
      Console.command(
              "pretrain --model txl " + SmallRun.SHAPE + " --max-step 2" + split,
              "--data-file",
              text,
              "--work-dir",
              txl)
          .ok();
      String lengths = " --tgt-len 4 --mem-len 8";
      String own = Console.command("evaluate" + lengths + " --load", txl).ok().out();
      // The corpus is the checkpoint's where none is named.
      String named =
          Console.command("evaluate-txl" + lengths + split + " --data-file", text, "--load", txl)
              .ok()
              .out();
      assertEquals(untimed(own), untimed(named));
      assertTrue(own.contains("| test loss "), own);
      String generate = "generate --max-new-tokens 20 --temperature 0 --prompt e --load";
      String written = Console.command(generate, txl).ok().out();
      assertTrue(written.startsWith("e") && written.length() == 22, written);
      assertEquals(Console.command(generate, txl).ok().out(), written);
      symbolsAreTheModels(folder, text, generate + " " + txl + split + " --data-file");
      // The checkpoint keeps its symbols: without flags of a corpus none is read.
      Files.delete(text);
      assertEquals(Console.command(generate, txl).ok().out(), written);
      assertTrue(
          Console.command("evaluate --load", txl)
              .refusal(1)
              .endsWith("there is no such file): --data or --data-file says where it lies now"));
      assertTrue(
          Console.command("upcycle --num-experts 4 --save", folder.path("no"), "--load", txl)
              .refusal(2)
              .contains("is a Transformer-XL's, and that kind of model is not upcycled: "));
      String runs = Console.command("runs " + txl.getParent()).ok().out();
      assertTrue(runs.contains("  Transformer-XL "), runs);
      Path gpt = folder.path("gpt");
      Console.command("pretrain-gpt" + GPT + " --save", gpt).ok();
      assertTrue(
          Console.command("evaluate --samples 2 --load", gpt)
              .ok()
              .out()
              .contains(", iteration 1, valid part: 2 sequences of 16 tokens | lm loss value:"));
      assertTrue(
          Console.command("evaluate-txl" + lengths + " --load", gpt)
              .refusal(2)
              .contains("is a GPT's, and no Transformer-XL's"));
      assertTrue(
          Console.command("evaluate-gpt --load", txl)
              .refusal(2)
              .contains("is a Transformer-XL's, and no GPT's"));
    }
  }

  /** As many symbols that stand for other bytes are refused, of whichever corpus. */
  private static void symbolsAreTheModels(TempDir folder, Path text, String generate)
      throws IOException {
    Console.command(generate, text).ok();
    String all = Files.readString(text);
    char first = all.charAt(0);
    char second = (char) all.chars().filter(c -> c != first && c != '\n').findFirst().getAsInt();
    String swapped = all.replace(first, '\0').replace(second, first).replace('\0', second);
    Path other = Files.writeString(folder.path("other"), swapped);
    String said = Console.command(generate, other).refusal(2);
    assertTrue(
        said.endsWith(
            " has learnt the symbols of %s, and those of %s stand for other bytes"
                .formatted(text, other)),
        said);
  }

  private static String untimed(String out) {
    return out.replaceAll("Time : .*", "Time");
  }
}
