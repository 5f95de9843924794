package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What is refused, each with one sentence that names the flags and the values. */
public class RefusedFlagsTest {
  private static final String EXPERTS =
      "--moe, --moe-num-expert, --moe-top-k: experts are --num-experts N --top-k K, as in GPT";
  private static final String GPUS =
      "--multi-gpu, --gpu0-bsz: several GPUs are several processes (moe4j launch, torchrun)";
  private static final String AWARE = "--use-precision-aware-optimizer ";
  private static final String RUN =
      "--preset cpu --data x --n-layer 4 --init-std 0.02 --lr 0.002 --warmup-step 20"
          + " --max-step 400 ";

  private static final String PRESETS =
      "--preset takes enwik8-base, enwik8-base-moe64, cpu, cpu-moe16, not 'large'";

  private TempDir folder;
  private Path text;

  @BeforeClass
  public void makeText() throws IOException {
    Random random = Seeds.random(RefusedFlagsTest.class);
    folder = new TempDir();
    text = folder.text("text", random, 500);
  }

  @AfterClass
  public void delete() throws IOException {
    folder.close();
  }

  /** Flags behind those of a run. */
  @DataProvider
  public Object[][] flags() {
    return new Object[][] {
      // TransformerXlConfig.
      {"--n-layer 0", "--n-layer 0 is not positive"},
      {
        "--n-layer 3 --num-experts 4 --moe-layer-freq [0]*3",
        "--moe-layer-freq [0]*3 leaves no layer for experts: have a 1 in it, or leave out"
            + " --num-experts"
      },
      {
        "--n-layer 3 --num-experts 4 --moe-layer-freq [0]+[1]",
        "--moe-layer-freq [0]+[1] describes 2 layers, --n-layer says 3"
      },
      {"--n-head -1", "--n-head -1 is not positive"},
      {"--d-head 0", "--d-head 0 is not positive"},
      {"--d-model 0", "--d-model 0 is not positive"},
      {"--d-model 127", "--d-model 127: sines and cosines of positions take an even number"},
      {"--d-embed 0", "--d-embed 0 is not positive"},
      {"--d-inner 0", "--d-inner 0 is not positive"},
      {"--tgt-len 0", "--tgt-len 0 is not positive"},
      {"--ext-len -1", "--ext-len -1, --mem-len 64: neither may be negative"},
      {"--mem-len -2", "--ext-len 0, --mem-len -2: neither may be negative"},
      {"--clamp-len 0", "--clamp-len 0 is neither -1 nor positive"},
      {"--clamp-len -3", "--clamp-len -3 is neither -1 nor positive"},
      {
        "--same-length --mem-len 0",
        "--same-length: every position sees --mem-len others, and that is 0"
      },
      {"--attn-type 2", "--attn-type 2: moe4j has only the paper's attention, --attn-type 0"},
      {"--attn-type 7", "--attn-type takes 0, 1, 2, 3, not '7'"},
      {"--init uniform", "--init uniform: moe4j draws initial weights only from --init normal"},
      {"--init-std -1", "--init-std -1.0, --proj-init-std 0.01: neither may be negative"},
      {"--proj-init-std -1", "--init-std 0.02, --proj-init-std -1.0: neither may be negative"},
      {"--cutoffs 10", "--cutoffs needs --adaptive"},
      {"--adaptive", "--adaptive needs --cutoffs: the first symbol of each further cluster"},
      {"--adaptive --cutoffs 10 10", "--cutoffs [10, 10] do not rise from 1 on"},
      {"--adaptive --cutoffs 0", "--cutoffs [0] do not rise from 1 on"},
      {"--div-val 0", "--div-val 0 is not positive"},
      {"--div-val 2", "--div-val 2 needs --adaptive"},
      {
        "--adaptive --cutoffs 10 20 --div-val 16",
        "--div-val 16 leaves the last of 3 clusters no channel of --d-embed 128"
      },
      {"--dropout 1", "--dropout 1.0 is not in [0, 1)"},
      {"--dropatt -0.1", "--dropatt -0.1 is not in [0, 1)"},
      {"--dropout NaN", "--dropout takes a number, not 'NaN'"},
      // TrainingFlags.
      {"--batch-size 0", "--batch-size 0 is not positive"},
      {"--max-step 0", "--max-step 0 is not positive"},
      {"--eval-tgt-len 0", "--eval-tgt-len 0 is not positive"},
      {"--eval-batch-size 0", "--eval-batch-size 0 is not positive"},
      {"--eval-interval 0", "--eval-interval 0 is not positive"},
      {"--log-interval 0", "--log-interval 0 is not positive"},
      {"--save-interval 0", "--save-interval 0 is not positive"},
      {"--optim sgd", "--optim sgd: moe4j has only adam"},
      {"--optim adagrad", "--optim adagrad: moe4j has only adam"},
      {"--optim lamb", "--optim takes adam, sgd, adagrad, not 'lamb'"},
      {"--scheduler inv_sqrt", "--scheduler inv_sqrt: moe4j has cosine and constant"},
      {"--scheduler dev_perf", "--scheduler dev_perf: moe4j has cosine and constant"},
      {"--max-eval-steps 0", "--max-eval-steps 0 is neither -1 nor positive"},
      {"--max-eval-steps -2", "--max-eval-steps -2 is neither -1 nor positive"},
      {"--warmup-step -1", "--warmup-step -1 is not between 0 and --max-step 400"},
      {"--warmup-step 400", "--warmup-step 400 is not between 0 and --max-step 400"},
      {
        "--lr 0.001 --eta-min 0.01",
        "--lr 0.001 and --eta-min 0.01: 0 <= eta-min <= lr is asked for"
      },
      {"--lr -1", "--lr -1.0 and --eta-min 0.0: 0 <= eta-min <= lr is asked for"},
      {"--eta-min -1", "--lr 0.002 and --eta-min -1.0: 0 <= eta-min <= lr is asked for"},
      {"--clip -1", "--clip -1.0 is negative"},
      {
        "--eval-tgt-len 128",
        "--eval-tgt-len 128 leaves no memory of --mem-len 64 + --tgt-len 64: give at most 127"
      },
      {
        "--tgt-len 8 --mem-len 8 --eval-tgt-len 50",
        "--eval-tgt-len 50, the default, leaves no memory of --mem-len 8 + --tgt-len 8: give at most"
            + " 15"
      },
      {"--restart-dir y", "--restart-dir needs --restart"},
      {"--exit-interval 0", "--exit-interval 0 is not positive"},
      // The optimizer's types.
      {"--exp-avg-dtype bf16", "--exp-avg-dtype needs --use-precision-aware-optimizer"},
      {"--master-storage half", "--master-storage takes whole, remainder, not 'half'"},
      {
        AWARE + "--main-grads-dtype bf16",
        "--main-grads-dtype bf16 is for a model in bf16: give --bf16 too, or leave it out"
      },
      {
        AWARE + "--exp-avg-dtype fp16",
        "--exp-avg-dtype fp16 is not taken: give bf16, which takes as many bytes and has fp32's"
            + " range"
      },
      {
        AWARE + "--exp-avg-dtype bf16 --exp-avg-sq-dtype fp16",
        "--exp-avg-sq-dtype fp16 is not taken: give bf16, which takes as many bytes and has fp32's"
            + " range"
      },
      {
        "--master-storage remainder",
        "--master-storage remainder is for a model in bf16, since fp32 parameters have no masters:"
            + " give --bf16 too, or leave it out"
      },
      {
        AWARE + "--main-params-dtype fp16",
        "--main-params-dtype fp16 is not taken: an fp32 master adds 16 bits to its bf16 parameter"
            + " (--master-storage remainder), which are as many as fp16's: leave the flag out"
      },
      {
        AWARE + "--exp-avg-sq-dtype fp8 --device cuda --no-fused-kernels",
        "--exp-avg-dtype fp32 and --exp-avg-sq-dtype fp8 on a GPU need moe4j's kernels: leave out"
            + " --no-fused-kernels"
      },
      // CorpusFlags.
      {
        "--data-file y --split-bytes 1,2,3",
        "one of --data and --data-file is asked for, both are given"
      },
      {"--split-bytes 1,2,3", "--split-bytes needs --data-file"},
      {"--vocabulary words", "--vocabulary takes bytes, upstream, not 'words'"},
      // UpstreamFlags.
      {"--cuda", "--cuda: --device cuda says it"},
      {"--multi-gpu", GPUS},
      {"--gpu0-bsz 4", GPUS},
      {"--fp16", "--fp16: --bf16 is moe4j's way, which needs no loss scale"},
      {"--batch-chunk 2", "--batch-chunk 2: a step takes the batch whole"},
      {"--varlen", "--varlen: segments have one length, so that a step can be captured"},
      {"--moe", EXPERTS},
      {"--moe-num-expert 8", EXPERTS},
      {"--moe-top-k 2", EXPERTS},
      // Others.
      {"--top-k 2", "--top-k needs --num-experts"},
      {"--preset large", PRESETS},
      {"--preset=large", PRESETS},
      {"--preset", "--preset needs a value behind it"},
      {
        "--tensor-model-parallel-size 2",
        "--tensor-model-parallel-size 2: a Transformer-XL's matrices are whole on every process"
      },
      {"--n-layers 3", "unknown flag --n-layers; did you mean --n-layer?"},
      // A GPT's names, of which some are spelt nearly as another flag is.
      {"--save x", "unknown flag --save; this command calls it --work-dir"},
      {"--load x", "unknown flag --load; this command calls it --restart-dir"},
      {"--train-iters 9", "unknown flag --train-iters; this command calls it --max-step"},
      {
        "--micro-batch-size 9",
        "unknown flag --micro-batch-size; this command calls it --batch-size"
      },
      {"--seq-length 9", "unknown flag --seq-length; this command calls it --tgt-len"},
      {"--batch-size x", "--batch-size takes a whole number, not 'x'"},
      {"y", "'y' is neither a flag nor a flag's value"},
    };
  }

  private static String refusal(String line) {
    IllegalArgumentException refused =
        expectThrows(IllegalArgumentException.class, () -> SmallRun.parse(line));
    assertFalse(refused.getMessage().contains("\n"), refused.getMessage());
    return refused.getMessage();
  }

  @Test(dataProvider = "flags")
  public void inOneSentence(String flags, String sentence) {
    assertEquals(refusal(RUN + flags), sentence);
  }

  @Test
  public void whatIsMissing() {
    assertEquals(
        refusal("--preset cpu"), "one of --data and --data-file is asked for, none is given");
    assertEquals(
        refusal("--preset cpu --data-file y"), "--data-file needs --split-bytes TRAIN,VALID,TEST");
    assertEquals(refusal("--data x --restart"), "--restart needs --work-dir");
    assertEquals(refusal("--data x --save-interval 5"), "--save-interval needs --work-dir");
  }

  /** What upstream has and means nothing here is taken where it says so. */
  @DataProvider
  public Object[][] taken() {
    return new Object[][] {
      {"--batch-chunk 1"},
      {"--gpu0-bsz -1"},
      {"--d-embed -1"},
      {"--clip 0"},
      {"--attn-type 0"},
      {"--scheduler constant"},
      {"--clamp-len 1"},
      {"--eval-tgt-len 127"},
      {"--max-eval-steps -1"},
      {"--mem-len 0 --eval-tgt-len 1000"},
      {"--warmup-step 399"},
      {"--eta-min 0.002"},
      {"--adaptive --cutoffs 10 20 --div-val 11"},
      {"--dropout 0.99 --dropatt 0.99"},
    };
  }

  @Test(dataProvider = "taken")
  public void atTheEdge(String flags) {
    assertEquals(SmallRun.parse("--preset cpu --data x " + flags).corpus().data(), "x");
  }

  /** Columns are whole, on every process. */
  @Test
  public void columnsThatCannotBeShared() {
    String[] line = {"--preset", "cpu", "--data", "x"};
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> SmallRun.line(3, line)).getMessage(),
        "--batch-size 16 is no multiple of the 3 processes that share it\n"
            + "--eval-batch-size 10 is no multiple of the 3 processes that share it");
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> SmallRun.line(4, line)).getMessage(),
        "--eval-batch-size 10 is no multiple of the 4 processes that share it");
    assertEquals(SmallRun.line(2, line).config().training().microBatchSize(), 8);
  }

  /** Behind {@code pretrain-txl} and a small shape. */
  @DataProvider
  public Object[][] data() {
    return new Object[][] {
      {
        "--data-file TEXT --split-bytes 7,100,100 --vocabulary bytes",
        2,
        "the train data is too short: 7 symbols in a batch of 4 columns are 1 a column, and a"
            + " column needs 2, one to see and one to predict"
      },
      {
        "--data-file TEXT --split-bytes 100,3,100 --vocabulary bytes",
        2,
        "the valid data is too short: 3 symbols in a batch of 2 columns are 1 a column, and a"
            + " column needs 2, one to see and one to predict"
      },
      {
        "--data-file TEXT --split-bytes 100,100,3 --vocabulary bytes",
        2,
        "the test data is too short: 3 symbols in a batch of 2 columns are 1 a column, and a"
            + " column needs 2, one to see and one to predict"
      },
      {
        "--data-file TEXT --split-bytes 400,50,51",
        2,
        "--split-bytes 400,50,51 asks for 501 bytes, but TEXT has 500"
      },
      {
        "--data-file TEXT --split-bytes 0,50,50",
        2,
        "--split-bytes 0,50,50: TRAIN is to be positive, VALID and TEST not negative"
      },
      {
        "--data-file TEXT --split-bytes 400",
        2,
        "--split-bytes takes three sizes in bytes as TRAIN,VALID,TEST, such as"
            + " 90000000,5000000,5000000, not '400'"
      },
      {"--data-file TEXT/x --split-bytes 4,1,1", 1, "--data-file TEXT/x: there is no such file"},
      {
        "--data-file FOLDER/no --split-bytes 4,1,1",
        1,
        "--data-file FOLDER/no: there is no such file"
      },
      {"--data-file FOLDER --split-bytes 4,1,1", 1, "--data-file FOLDER is a directory"},
      {"--data FOLDER/no", 1, ".*FOLDER/no.*"},
      {
        "--data-file TEXT --split-bytes 300,100,100 --adaptive --cutoffs 5 200",
        2,
        "--cutoffs [5, 200] leave nothing of a vocabulary of \\d+ symbols for the last cluster"
      },
    };
  }

  @Test(dataProvider = "data")
  public void dataThatDoNotDo(String flags, int status, String sentence) {
    String line = "pretrain-txl " + SmallRun.SHAPE + " --max-step 3 " + flags;
    String folderName = folder.path("").toString();
    String said =
        Console.command(line.replace("TEXT", text.toString()).replace("FOLDER", folderName))
            .refusal(status);
    String expected = sentence.replace("TEXT", text.toString()).replace("FOLDER", folderName);
    // Brackets are meant, dots and stars are a pattern's.
    String pattern = expected.replace("[", "\\[").replace("]", "\\]");
    assertTrue(said.matches("moe4j pretrain-txl: " + pattern), said);
  }
}
