package moe4j.tests;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import moe4j.kernels.cuda.Cuda;
import moe4j.testing.Seeds;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * What is wrong with the input is said in one line on standard error that names the flag, the file
 * or the value, and the status is not 0.
 */
public class BadInputTest {
  private final Random random = Seeds.random(BadInputTest.class);
  private Workspace workspace;
  private Path corpus;
  private Path run;
  private List<String> base;

  @BeforeClass
  public void makeInputs() throws IOException {
    workspace = new Workspace();
    corpus = workspace.corpus("corpus", random, 60);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --lr 1e-2 --tokenizer-type ByteTokenizer --eval-iters 0"
                + " --train-iters 4 --log-interval 1 --num-threads 1 --data-path",
            corpus);
    run = workspace.path("run");
    Cli.run(Cli.with(base, "--save-interval 2", "--save", run)).ok();
  }

  @AfterClass
  public void deleteInputs() throws IOException {
    workspace.close();
  }

  /** Flags behind a sound command line, and what the sentence is to name. */
  @DataProvider
  public Object[][] flags() {
    return new Object[][] {
      {"--nun-layers 2", "unknown flag --nun-layers; did you mean --num-layers?"},
      {"--hidden-sizes=3", "unknown flag --hidden-sizes; did you mean --hidden-size?"},
      {"-lr 3", "unknown flag -lr; did you mean --lr?"},
      {"--qwertyuiop", "unknown flag --qwertyuiop"},
      {"--fp16", "--fp16 is a flag of Megatron's"},
      {
        "--tensor-model-parallel-size 2",
        "--tensor-model-parallel-size 2 does not divide the 1 process",
      },
      {
        "--pipeline-model-parallel-size 2",
        "--pipeline-model-parallel-size 2 is a flag of Megatron's"
      },
      {"--num-layers", "--num-layers needs a value"},
      {"--num-layers two", "--num-layers takes a whole number, not 'two'"},
      {"--num-layers 2.5", "--num-layers takes a whole number, not '2.5'"},
      {"--lr 1e-3x", "--lr takes a number, not '1e-3x'"},
      {"--lr NaN", "--lr takes a number, not 'NaN'"},
      {"--lr -1", "--lr -1.0"},
      {"--bf16=yes", "--bf16 takes no value"},
      {"--train-iters 99999999999", "--train-iters takes a whole number, not '99999999999'"},
      {"--num-attention-heads 3", "--hidden-size 16", "--num-attention-heads 3"},
      {"--group-query-attention --num-query-groups 3", "--num-query-groups 3"},
      {"--train-samples 8", "--train-iters and --train-samples"},
      {"--lr-warmup-samples 2", "--train-iters", "--lr-warmup-samples"},
      {"--lr-decay-samples 2", "--train-iters", "--lr-decay-samples"},
      {"--lr-warmup-iters 4", "warm-up"},
      {"--global-batch-size 3", "--global-batch-size 3", "--micro-batch-size 2"},
      {"--micro-batch-size 0", "--micro-batch-size 0"},
      {"--num-experts 4 --moe-router-topk 5", "--moe-router-topk 5", "--num-experts 4"},
      {"--num-experts 4 --moe-layer-freq [1]*3", "--moe-layer-freq [1]*3", "--num-layers"},
      {"--moe-ffn-hidden-size 8", "--moe-ffn-hidden-size", "--num-experts"},
      {"--moe-router-topk 4", "--moe-router-topk needs --num-experts"},
      {"--rotary-percent 0.5", "--rotary-percent needs --position-embedding-type rope"},
      {"--moe-router-load-balancing-type sinkhorn", "sinkhorn", "aux_loss"},
      {"--finetune", "--finetune needs --load"},
      {"--tokenizer-type WordTokenizer", "--tokenizer-type WordTokenizer is unknown"},
      {"--tokenizer-type SentencePieceTokenizer", "SentencePieceTokenizer"},
      {"--tokenizer-type HuggingFaceTokenizer", "--tokenizer-model"},
      {
        "--tokenizer-type HuggingFaceTokenizer --tokenizer-model /nowhere/tokenizer.json",
        ": --tokenizer-model /nowhere/tokenizer.json"
      },
      {"--vocab-size 100", "--vocab-size 100", "ByteTokenizer", "257"},
      {"--mock-data", "--data-path", "--mock-data"},
      {"--split 1,2,3,4", "--split", "1,2,3,4"},
      {"--split 0,1,0", "--split"},
      {"--data-path /nowhere/corpus", "/nowhere/corpus.idx"},
      {"--data-path 0.5 /nowhere/a x /nowhere/b", "--data-path"},
      {"--data-args-path /nowhere/list --data-path", "--data-path needs a value"},
      {"--bf16 word", "'word'"},
      {"--device tpu", "--device takes cpu"},
      {"--profile", "--profile needs --device cuda"},
      {"--device cpu --profile-step-end 20", "--profile-step-end needs --profile"},
      {"--device cuda --cuda-graph maybe", "--cuda-graph takes on, off, not 'maybe'"},
      {"--attention-dropout 1.5", "--attention-dropout 1.5"},
      {"--max-position-embeddings 8", "--max-position-embeddings 8", "--seq-length 16"},
      {"--load /nowhere/run --finetune", "--load /nowhere/run holds no checkpoint"},
      {
        "--load /nowhere/run --exit-on-missing-checkpoint",
        "--load /nowhere/run holds no checkpoint"
      },
    };
  }

  @Test(dataProvider = "flags")
  public void flagsAreRefused(String flags, String... named) {
    refused(Cli.with(base, flags), named);
  }

  /** What stands between {@code bench} and sound flags, flags behind them, and what is named. */
  @DataProvider
  public Object[][] benches() {
    return new Object[][] {
      {"", "--warmup-steps 1", "gpt"},
      {"bert", "--warmup-steps 1", "comm, gpt, kernels, model, moe or txl, not 'bert'"},
      {"gpt gpt", "--warmup-steps 1", "'gpt' is neither a flag nor a flag's value"},
      {"gpt", "--seed 1", "--train-iters 4", "--log-interval 1", "--warmup-steps 10"},
      {"gpt", "--warmup-steps 4", "--train-iters 4", "--log-interval 1", "--warmup-steps 4"},
      {
        "gpt",
        "--train-iters 7 --log-interval 4 --warmup-steps 1",
        "--train-iters 7 leaves no whole --log-interval 4 after --warmup-steps 1"
      },
      {
        "gpt",
        "--train-iters 11 --log-interval 4 --warmup-steps 5",
        "--train-iters 11 leaves no whole --log-interval 4 after --warmup-steps 5"
      },
      {"gpt", "--warmup-steps 0", "--warmup-steps 0"},
      {"gpt", "--compare-cuda-graph", "--compare-cuda-graph needs --device cuda"},
      {"gpt", "--warmup-steps some", "--warmup-steps takes a whole number, not 'some'"},
      {"gpt", "--nun-layers 2 --warmup-steps 1", "did you mean --num-layers?"},
    };
  }

  @Test(dataProvider = "benches")
  public void benchesAreRefused(String what, String flags, String... named) {
    List<String> line = Cli.with(base, flags);
    line.set(0, "bench");
    if (!what.isEmpty()) {
      line.addAll(1, Cli.arguments(what));
    }
    refused(line, named);
  }

  @DataProvider
  public Object[][] commands() {
    return new Object[][] {
      {"inspect /nowhere/corpus", "/nowhere/corpus"},
      {"inspect", "PREFIX"},
      {"inspect a b", "PREFIX"},
      {"inspect a --indices", "--indices", "--seq-length"},
      {"inspect a --samples 3", "--samples needs --indices"},
      {"inspect a --seed 3", "--seed needs --indices"},
      {"inspect a --indices --seq-length 4 --part valid", "--part needs --split"},
      {"compare /nowhere/run", "/nowhere/run"},
      {"compare", "run"},
      {"generate --load /nowhere/run", "--load /nowhere/run holds no checkpoint"},
      {"generate", "--load is required"},
      {"evaluate --load /nowhere/run", "--load /nowhere/run holds no checkpoint"},
      {"evaluate", "--load is required"},
      {"preprocess --input /nowhere/text --output-prefix x", "--tokenizer-type is required"},
      {
        "preprocess --input /nowhere/text --output-prefix x --tokenizer-type ByteTokenizer",
        ": --input /nowhere/text: there is no such file"
      },
      {"preprocess --output-prefix x --tokenizer-type ByteTokenizer", "--input is required"},
      {"pretrain-gpt --lr 1", "is required"},
      {"pretrain-gpt", "is required"},
      {"bench", "comm, gpt, kernels, model, moe or txl"},
      {"bench gpt", "is required"},
      {"bench kernels --only norms", "--only", "norm, activation, dropout, attention"},
      {"bench kernels --rounds 0", "--rounds 0 is not positive"},
      {"data", "the word after it is enwik8"},
      {"data enwik9 --out x", "enwik8, not 'enwik9'"},
      {"data enwik8", "--out is required"},
      {"data enwik8 --out x --file /nowhere/y", "--file /nowhere/y: there is no such file"},
      {"doctor --what", "--what"},
      {"selftest --only nothing", "--only nothing", "norm, activation, dropout"},
      {"demo --train-iters 0", "--train-iters 0"},
      {"demo --corpus /nowhere/jars", "/nowhere/jars"},
    };
  }

  @Test(dataProvider = "commands")
  public void commandLinesAreRefused(String line, String... named) {
    List<String> arguments = Cli.arguments(line);
    refused(
        arguments.get(0).equals("demo")
            ? Cli.with(arguments, "--output-dir", workspace.path("demo"))
            : arguments,
        named);
  }

  /** A line that is sound but for the machine. */
  @DataProvider
  public Object[][] commandsOnAGpu() {
    Path save = workspace.path("gpu");
    List<String> bench = Cli.with(base, "--warmup-steps 1 --save", save);
    bench.set(0, "bench");
    bench.add(1, "gpt");
    return new Object[][] {
      {Cli.with(base, "--save", save, "--data-cache-path", workspace.path("gpu-cache"))},
      {bench},
      {Cli.arguments("demo --output-dir", save)},
      {Cli.arguments("evaluate --load", run, "--data-cache-path", workspace.path("gpu-cache"))},
      {Cli.arguments("generate --max-new-tokens 1 --prompt x --load", run)},
      {Cli.arguments("selftest")},
    };
  }

  @Test(dataProvider = "commandsOnAGpu")
  public void withoutAGpuThereIsOneSentence(List<String> line) throws IOException {
    if (Cuda.isAvailable()) {
      throw new SkipException("this machine has a GPU");
    }
    Set<String> before = workspace.files();
    Cli.Result result = refused(Cli.with(line, "--device cuda"), "--device cuda: ");
    assertEquals(result.out(), "");
    assertEquals(workspace.files(), before);
  }

  /** The list of commands stands behind the sentence. */
  @Test
  public void unknownCommandsNameTheNearest() {
    Cli.Result result = Cli.run("pretrain-gtp --lr 1");
    assertEquals(result.status(), 2);
    assertEquals(
        result.err().lines().findFirst().orElseThrow(),
        "moe4j: there is no command 'pretrain-gtp'; did you mean 'pretrain-gpt'?");
    assertTrue(result.err().contains("\n  evaluate "), result.err());
    assertTrue(Cli.run(List.of()).out().contains("\n  evaluate "));
    assertEquals(Cli.run(List.of()).status(), 2);
  }

  @Test
  public void theCommandIsTheFirstWord() {
    for (String first : List.of("@flags.txt", "--config")) {
      Cli.Result result = Cli.run(List.of(first, "pretrain-gpt"));
      assertEquals(result.status(), 2);
      assertEquals(
          result.err().lines().findFirst().orElseThrow(),
          "moe4j: there is no command '"
              + first
              + "': the command is the first word, and flags and files of flags follow it");
    }
  }

  @Test
  public void missingRequiredFlags() {
    for (String flag :
        List.of("--num-layers", "--hidden-size", "--seq-length", "--lr", "--micro-batch-size")) {
      refused(without(base, flag), flag + " is required");
    }
    refused(without(base, "--data-path"), "--data-path");
    refused(without(base, "--tokenizer-type"), "--tokenizer-type");
    List<String> endless = without(base, "--train-iters");
    refused(endless, "--train-iters or --train-samples is required");
    refused(
        Cli.with(endless, "--train-samples 1"), "--train-samples 1", "--global-batch-size of 2");
    refused(
        Cli.with(endless, "--train-samples 99999999999999"),
        "--train-samples 99999999999999",
        "2147483647");
  }

  private static List<String> without(List<String> line, String flag) {
    int at = line.indexOf(flag);
    List<String> rest = new java.util.ArrayList<>(line);
    rest.subList(at, at + 2).clear();
    return rest;
  }

  @Test
  public void brokenDataFiles() throws IOException {
    byte[] idx = Files.readAllBytes(workspace.path("corpus.idx"));
    byte[] bin = Files.readAllBytes(workspace.path("corpus.bin"));
    for (int size : new int[] {0, 8, 20, 33, 34 + random.nextInt(idx.length - 34)}) {
      refusedData("short-idx", Arrays.copyOf(idx, size), bin, "short-idx.idx");
    }
    refusedData(
        "foreign", "not an index, but text of some length".getBytes(UTF_8), bin, "foreign.idx");
    byte[] version = idx.clone();
    version[9] = 7;
    refusedData("version", version, bin, "version.idx");
    refusedData("short-bin", idx, Arrays.copyOf(bin, bin.length / 2), "short-bin.bin");
    Files.write(workspace.path("no-bin.idx"), idx);
    refused(
        Cli.with(base, "--data-path", workspace.path("no-bin")), "there is no file", "no-bin.bin");
  }

  private void refusedData(String name, byte[] idx, byte[] bin, String file) throws IOException {
    Files.write(workspace.path(name + ".idx"), idx);
    Files.write(workspace.path(name + ".bin"), bin);
    refused(Cli.with(base, "--data-path", workspace.path(name)), file);
    refused(Cli.arguments("inspect", workspace.path(name)), file);
  }

  /** The tokens are bytes and 256; a vocabulary of 100 does not reach them. */
  @Test
  public void tokensBeyondTheVocabulary() {
    Cli.Result result =
        refused(
            Cli.with(base, "--tokenizer-type NullTokenizer --vocab-size 90"),
            "corpus.bin, document ",
            "the vocabulary has 91 ids");
    assertFalse(result.err().contains("MOE4J_LOG"), result.err());
  }

  @Test
  public void saveThatCannotBeWritten() throws IOException {
    Path file = Files.writeString(workspace.path("file"), "in the way");
    refused(Cli.with(base, "--save", file), "cannot save checkpoints in " + file);
    Path below = file.resolve("run");
    refused(Cli.with(base, "--save", below), "cannot save checkpoints in " + below);
    refused(Cli.with(base, "--metrics-dir", below), file.toString());
    refused(Cli.with(base, "--tensorboard-dir", below), file.toString());
    assertEquals(Files.readString(file), "in the way");
  }

  @Test
  public void otherShapes() {
    List<String> load = Cli.with(base, "--load", run);
    refused(Cli.with(load, "--hidden-size 32"), "with --hidden-size 16", "with --hidden-size 32");
    refused(Cli.with(load, "--num-layers 2"), "--num-layers 1");
    refused(Cli.with(load, "--num-experts 4"), "without --num-experts", "with --num-experts 4");
    refused(Cli.with(load, "--swiglu"), "without --swiglu", "with --swiglu");
    refused(
        Cli.with(load, "--tokenizer-type NullTokenizer --vocab-size 1000"),
        "padded vocabulary of 384",
        "of 1024",
        "--tokenizer-type, --vocab-size, --make-vocab-size-divisible-by");
    // Learned positions are a table, of which a shorter sequence uses less.
    refused(
        Cli.with(load, "--seq-length 32"),
        "with --max-position-embeddings 16",
        "with --max-position-embeddings 32");
    Cli.run(Cli.with(load, "--seq-length 8 --max-position-embeddings 16 --override-data")).ok();
    Cli.run(Cli.with(load, "--make-vocab-size-divisible-by 192")).ok();
  }

  @Test
  public void emptyDirectories() throws IOException {
    Path empty = Files.createDirectories(workspace.path("empty"));
    for (String command : List.of("generate", "evaluate")) {
      refused(Cli.arguments(command, "--load", empty), "--load " + empty, "holds no checkpoint");
    }
    refused(Cli.arguments("compare", empty), empty.toString());
    refused(
        Cli.arguments(
            "preprocess --tokenizer-type ByteTokenizer",
            "--input",
            empty,
            "--output-prefix",
            workspace.path("out")),
        empty.toString());
  }

  /** The newest of two is passed over with a sentence; with both broken there is nothing left. */
  @Test
  public void brokenCheckpoints() throws IOException {
    Path broken = workspace.path("broken");
    Workspace.copy(run, broken);
    corrupt(broken.resolve("iter_0000004/model_00000-of-00001.safetensors"));
    Cli.Result result = Cli.run(Cli.with(base, "--train-iters 6", "--load", broken)).ok();
    assertEquals(result.err(), "");
    assertTrue(
        result.out().contains("iter_0000004 cannot be used: ")
            && result.out().contains("model_00000-of-00001.safetensors is corrupt")
            && result.out().contains("using checkpoint " + broken.resolve("iter_0000002")),
        result.out());
    assertTrue(result.out().contains("iteration        3/       6"), result.out());
    assertFalse(result.out().contains("iteration        2/       6"), result.out());

    Files.write(
        broken.resolve("iter_0000002/manifest.json"),
        new byte[0],
        StandardOpenOption.TRUNCATE_EXISTING);
    for (String command : List.of("generate", "evaluate")) {
      refused(Cli.arguments(command, "--load", broken), "no checkpoint in " + broken);
    }
    refused(
        Cli.with(base, "--load", broken),
        "no checkpoint in " + broken + " can be used",
        "iter_0000004",
        "iter_0000002");
  }

  private void corrupt(Path file) throws IOException {
    byte[] bytes = Files.readAllBytes(file);
    bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
    Files.write(file, bytes);
  }

  /** A split that leaves validation nothing, or a blend of which all is not enough. */
  @Test
  public void tooLittleData() throws IOException {
    Path one = workspace.corpus("one", random, 1);
    List<String> line = Cli.with(base, "--eval-iters 2 --split 50,50,0 --data-path", one);
    Cli.run(line).ok();
    // Prefixes without weights give one epoch, however many samples the run wants.
    refused(
        Cli.with(base, "--train-iters 2000 --data-path", one, corpus, corpus),
        "--train-iters 2000 takes 4000 training samples");
    refused(
        Cli.with(base, "--eval-iters 2000 --split 5,5 --data-path", corpus, corpus, corpus),
        "--eval-iters 2000 takes 4000 validation samples");
    Path often = workspace.path("often");
    String flags = "--eval-iters 10 --split 90,10,0 --train-iters 8";
    Cli.run(Cli.with(base, flags + " --eval-interval 1 --exit-interval 6", "--save", often)).ok();
    // What it has consumed counts, though its new flags would have asked for less.
    Cli.run(Cli.with(base, flags + " --eval-interval 8", "--load", often)).ok();
  }

  /** What evaluation takes by itself is all there is: that may be nothing, or without an end. */
  @Test
  public void evaluationWithoutSamples() throws IOException {
    List<String> evaluate = Cli.arguments("evaluate --part train --load", run);
    Path tiny = workspace.dataset("tiny", List.of(new int[] {1, 2, 3, 4, 5}));
    refused(
        Cli.with(evaluate, "--data-path", tiny),
        "the train part of the data has not one sample of 16 tokens");
    List<String> weighted = Cli.with(evaluate, "--data-path", 0.4, corpus, 0.6, corpus);
    refused(weighted, "weights before prefixes", "--samples");
    assertTrue(Cli.run(Cli.with(weighted, "--samples 6")).ok().out().contains("6 sequences"));
  }

  private static Cli.Result refused(List<String> line, String... named) {
    Cli.Result result = Cli.run(line);
    String what = line + ": " + result.status() + " " + result.err();
    assertTrue(result.status() == 1 || result.status() == 2, what);
    List<String> lines = result.err().lines().toList();
    // One fault is a line; several are a line each behind one that says how many.
    assertTrue(
        lines.size() == 1
            || (lines
                    .get(0)
                    .endsWith(
                        ": %d things are wrong with this command line:".formatted(lines.size() - 1))
                && lines.stream()
                    .skip(1)
                    .allMatch(fault -> fault.startsWith("  --") || fault.startsWith("  one of "))),
        what);
    boolean two =
        line.size() > 1 && List.of("comm", "gpt", "kernels", "enwik8").contains(line.get(1));
    String command = two ? line.get(0) + " " + line.get(1) : line.get(0);
    assertTrue(result.err().startsWith("moe4j " + command + ": "), what);
    for (String name : named) {
      assertTrue(result.err().contains(name), name + " is missing in " + what);
    }
    for (String foreign :
        List.of("Exception", "java.", "c10", "frame #", "MOE4J_LOG", "null", ".cpp")) {
      assertFalse(result.err().contains(foreign), what);
    }
    return result;
  }
}
