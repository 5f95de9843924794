package moe4j.application.demo;

import static org.testng.Assert.assertEquals;

import java.nio.file.Path;
import moe4j.config.Flags;
import moe4j.model.gpt.GptFamily;
import org.testng.annotations.Test;

/** What the demo trains could be typed, too. */
public class DemoConfigTest {
  private static final String BOTH =
      "--num-layers 4 --hidden-size 128 --num-attention-heads 4 --seq-length 256"
          + " --ffn-hidden-size 512 --position-embedding-type rope --normalization RMSNorm"
          + " --qk-layernorm --init-method-std 0.05 --micro-batch-size 8 --global-batch-size 8"
          + " --lr 6e-3 --min-lr 3e-4 --lr-decay-style cosine --adam-beta2 0.95 --weight-decay 0.1"
          + " --make-vocab-size-divisible-by 64 --tokenizer-type ByteTokenizer --split 90,10,0"
          + " --eval-iters 32 --log-interval 10 --most-recent-k 1 --train-iters 600"
          + " --lr-warmup-iters 40 --eval-interval 75 --seed 7 --device cpu --data-path corpus"
          + " --save run --save-interval 75 --auto-resume --tensorboard-dir run/tensorboard ";

  @Test
  public void theRunsAreThoseOfTheseFlags() {
    DemoCommand.Options options =
        Flags.of(DemoCommand.Options.class).parse("--seed", "7").get(DemoCommand.Options.class);
    Path corpus = Path.of("corpus");
    Path run = Path.of("run");
    assertEquals(
        DemoCommand.config(options, corpus, run, false),
        GptFamily.parse((BOTH + "--run-name dense").split(" ")));
    String experts =
        "--num-experts 16 --moe-ffn-hidden-size 256 --moe-aux-loss-coeff 0.02"
            + " --run-name=16_experts,_top_2";
    String[] line = (BOTH + experts).split(" ");
    line[line.length - 1] = line[line.length - 1].replace('_', ' ');
    assertEquals(DemoCommand.config(options, corpus, run, true), GptFamily.parse(line));
  }
}
