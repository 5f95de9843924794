package moe4j.config;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.util.List;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.moe.MoeConfig;
import moe4j.moe.gate.RouterConfig;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Command lines in Megatron's style: all that is wrong is told at once, what is not is taken. */
public class MegatronLineTest {
  private static final String MODEL =
      "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 32"
          + " --micro-batch-size 1 --train-iters 4 --lr 1e-4 --mock-data";

  /** The shape of Mixtral 8x7B, as a script of Megatron's starts it. */
  private static final String MIXTRAL =
      "--use-mcore-models --disable-bias-linear --seq-length 4096 --max-position-embeddings 32768"
          + " --num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32"
          + " --init-method-std 0.01 --attention-dropout 0.0 --hidden-dropout 0.0"
          + " --normalization RMSNorm --position-embedding-type rope --swiglu"
          + " --untie-embeddings-and-output-weights --group-query-attention --num-query-groups 8"
          + " --no-masked-softmax-fusion --no-position-embedding --rotary-base 1000000"
          + " --num-experts 8 --moe-router-topk 2 --moe-router-load-balancing-type aux_loss"
          + " --moe-aux-loss-coeff 1e-2 --moe-grouped-gemm --moe-token-dispatcher-type alltoall"
          + " --overlap-param-gather --overlap-grad-reduce --tokenizer-type Llama2Tokenizer"
          + " --tokenizer-model tokenizer.model --data-path corpus --split 99990,8,2"
          + " --micro-batch-size 1 --global-batch-size 256 --lr 1e-4 --train-iters 500000"
          + " --lr-decay-iters 320000 --lr-decay-style cosine --min-lr 1.0e-5 --weight-decay 0.1"
          + " --lr-warmup-iters 500 --clip-grad 1.0 --bf16 --tensor-model-parallel-size 1"
          + " --expert-model-parallel-size 8 --use-distributed-optimizer --sequence-parallel"
          + " --log-interval 1 --save-interval 10000 --eval-interval 1000 --eval-iters 10"
          + " --save runs/mixtral --load runs/mixtral --tensorboard-dir runs/mixtral/tensorboard"
          + " --no-load-optim --no-load-rng --wandb-project Mixtral --wandb-exp-name Mixtral_8x7B";

  private static Flags.Parsed parse(String line) {
    return new GptFamily().flags().parse(Refusals.words(line));
  }

  @Test
  public void mixtralsLineIsTakenButForPipelineStages() {
    Flags.Parsed parsed = parse(MIXTRAL + " --pipeline-model-parallel-size 1");
    assertEquals(
        parsed.withoutEffect(),
        List.of(
            "--use-mcore-models",
            "--no-masked-softmax-fusion",
            "--no-position-embedding",
            "--moe-grouped-gemm",
            "--overlap-param-gather",
            "--no-load-rng",
            "--wandb-project Mixtral",
            "--wandb-exp-name Mixtral_8x7B",
            "--pipeline-model-parallel-size 1"));
    assertEquals(parsed.get(GptConfig.class).positionEmbeddingType(), "rope");
    assertEquals(new GptFamily().run(parsed, 8).moe().numExperts(), Integer.valueOf(8));
    assertEquals(
        Refusals.all(new GptFamily().flags(), MIXTRAL + " --pipeline-model-parallel-size 4"),
        List.of(
            "--pipeline-model-parallel-size 4 is a flag of Megatron's that has no place here: not"
                + " yet: pipeline parallelism"));
  }

  @Test
  public void allThatIsWrongIsToldAtOnce() {
    assertEquals(
        Refusals.all(
            new GptFamily().flags(),
            "--num-layer 2 --hidden-size 1O24 --num-attention-heads 0 --seq-length 32"
                + " --micro-batch-size 4 --global-batch-size 6 --train-iters 4 --fp8-format hybrid"
                + " --mtp-num-layers 1 --bf16=yes --split --lr-decay-style cos --keep-best"
                + " --context-parallel-size 2 --log-interval 0 --mock-data"),
        List.of(
            "unknown flag --num-layer; did you mean --num-layers?",
            "--fp8-format is a flag of Megatron's that has no place here: not yet: fp8 and fp4; use"
                + " --bf16",
            "--mtp-num-layers 1 is a flag of Megatron's that has no place here: not yet:"
                + " multi-token prediction",
            "--bf16 takes no value",
            "--split needs a value behind it",
            "--context-parallel-size 2 is a flag of Megatron's that has no place here: not yet:"
                + " context parallelism",
            "--num-layers is required",
            "--hidden-size takes a whole number, not '1O24'",
            "--lr is required",
            "--lr-decay-style takes constant, linear, cosine, inverse-square-root, WSD, not 'cos'",
            "--log-interval 0 is not positive",
            "--keep-best needs --save"));
  }

  @Test
  public void whatTheRecordsAreTogetherIsToldWithTheRest() {
    Flags flags = new GptFamily().flags();
    RefusedLine refused =
        org.testng.Assert.expectThrows(
            RefusedLine.class,
            () ->
                flags.parse(
                    Refusals.words(
                        MODEL + " --fp16 --num-experts 6 --expert-model-parallel-size 4"),
                    parsed -> new GptFamily().run(parsed, 4)));
    assertEquals(
        refused.sentences(),
        List.of(
            "--fp16 is a flag of Megatron's that has no place here: not yet: fp16 with its loss"
                + " scale; use --bf16",
            "--num-experts 6 is no multiple of --expert-model-parallel-size 4: 6 = 1 x 4 + 2"));
  }

  @DataProvider
  public Object[][] taken() {
    return new Object[][] {
      {"--pipeline-model-parallel-size 1"},
      {"--context-parallel-size 1"},
      {"--moe-router-dtype fp32"},
      {"--moe-grouped-gemm"},
      {"--use-mcore-models"},
      {"--no-load-rng"},
      {"--no-bias-gelu-fusion"},
      {"--moe-permute-fusion"},
      {"--num-workers 6"},
      {"--manual-gc"},
      {"--manual-gc-interval 100"},
      {"--ckpt-format torch_dist"},
      {"--exit-signal-handler"},
      {"--async-save"},
      {"--empty-unused-memory-level 2"},
      {"--high-priority-stream-groups a b"},
      {"--split 99,1,0"},
      {"--save-interval 50"},
      {"--override-opt_param-scheduler"},
    };
  }

  @Test(dataProvider = "taken")
  public void whatIsDoneAnywayIsTaken(String flags) {
    assertEquals(parse(flags + " " + MODEL).withoutEffect(), List.of(flags));
    String equals = flags.contains(" ") ? flags.replaceFirst(" (\\S+).*", "=$1") : flags;
    assertEquals(parse(MODEL + " " + equals).withoutEffect().size(), 1, equals);
  }

  @DataProvider
  public Object[][] refused() {
    return new Object[][] {
      {"--pipeline-model-parallel-size 2"},
      {"--pipeline-model-parallel-size=2"},
      {"--pipeline-model-parallel-size"},
      {"--moe-router-dtype fp64"},
      {"--transformer-impl inference_optimized"},
      {"--dataloader-type cyclic"},
      {"--fp8-format e4m3"},
      {"--multi-latent-attention"},
      {"--manual-gc=1"},
      {"--num-workers"},
      {"--ckpt-format --bf16"},
      {"--no-position-embedding"},
      {"--no-position-embedding --position-embedding-type none"},
    };
  }

  @Test(dataProvider = "refused")
  public void whatWouldBeBentIsRefusedByName(String flags) {
    List<String> sentences = Refusals.all(new GptFamily().flags(), MODEL + " " + flags);
    assertEquals(sentences.size(), 1, sentences.toString());
    assertTrue(sentences.get(0).startsWith(flags.split("[ =]")[0]), sentences.get(0));
  }

  @Test
  public void otherNamesOfOurFlagsAreTaken() {
    Flags.Parsed parsed =
        parse(MODEL + " --use-rotary-position-embeddings --no-position-embedding");
    assertEquals(parsed.get(GptConfig.class).positionEmbeddingType(), "rope");
    assertEquals(parsed.withoutEffect(), List.of("--no-position-embedding"));
  }

  @Test
  public void howAttentionIsComputedOnAGpuIsToldWithoutOne() {
    String how = " --attention-backend unfused --deterministic-mode";
    assertEquals(
        parse(MODEL + how).withoutEffect(),
        List.of("--attention-backend unfused", "--deterministic-mode"));
    assertEquals(parse(MODEL + how + " --device cuda").withoutEffect(), List.of());
  }

  /** Scores by sigmoid have no softmax that could come before or after the choice. */
  @Test
  public void preSoftmaxBesideSigmoidIsSigmoid() {
    String line = " --num-experts 4 --moe-router-score-function sigmoid";
    RouterConfig router = parse(MODEL + line).get(MoeConfig.class).router();
    assertEquals(
        parse(MODEL + line + " --moe-router-pre-softmax").get(MoeConfig.class).router(), router);
    assertEquals(router.score(), RouterConfig.Score.SIGMOID);
  }

  @Test
  public void otherCommandsTakeNoneOfThem() {
    Flags other = Flags.of(GptConfig.class);
    assertTrue(
        Refusals.of(other, "--use-mcore-models")
            .startsWith("--use-mcore-models is a flag of Megatron's that has no place here: "));
    assertFalse(parse(MODEL).withoutEffect().contains("--use-mcore-models"));
  }
}
