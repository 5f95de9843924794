package moe4j.plan;

import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptCosts;
import moe4j.model.txl.SmallRun;
import moe4j.model.txl.TransformerXlRun;
import moe4j.moe.MoeConfig;

/** Models and clusters that plans are tried on. */
final class Plans {
  /** GPT-2 124M of docs/performance.md. */
  static final String GPT2 =
      "--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024";

  /** GPT-2 350M of the same. */
  static final String GPT2_MEDIUM =
      "--num-layers 24 --hidden-size 1024 --num-attention-heads 16 --seq-length 1024";

  /** The experts of the same. */
  static final String EXPERTS = "--num-experts 96 --moe-ffn-hidden-size 1536";

  /** Mixtral 8x7B's shape, its experts apart. */
  static final String MIXTRAL =
      "--num-layers 32 --hidden-size 4096 --num-attention-heads 32 --group-query-attention"
          + " --num-query-groups 8 --ffn-hidden-size 14336 --swiglu --seq-length 4096"
          + " --position-embedding-type rope --normalization RMSNorm --disable-bias-linear"
          + " --untie-embeddings-and-output-weights";

  static final Choices BALANCED = new Choices(false, 1);

  private Plans() {}

  /** GPT-2's vocabulary, padded; bf16. */
  static PlannedModel gpt2(String flags, String moe) {
    return model(flags, moe, 50304);
  }

  static PlannedModel model(String flags, String moe, int vocabulary) {
    return new PlannedModel(GptCosts.of(gpt(flags), experts(moe), vocabulary), true);
  }

  /** A preset of a Transformer-XL, with the symbols that enwik8 has as its authors read it. */
  static PlannedModel transformerXl(String preset) {
    TransformerXlRun run = SmallRun.parse("--preset", preset);
    return new PlannedModel(run.config().model().costs(204), true);
  }

  static GptConfig gpt(String flags) {
    return Flags.parse(GptConfig.class, Refusals.words(flags));
  }

  static MoeConfig experts(String moe) {
    return MoeConfig.parse(Refusals.words(moe));
  }

  static PlannedModel fp32(PlannedModel model) {
    return new PlannedModel(model.costs(), false);
  }

  static PlannedLayout single(int batch) {
    return layout(1, 1, 1, 1, false, batch, batch);
  }

  /** With sequence parallelism where there is tensor parallelism. */
  static PlannedLayout layout(
      int world, int tp, int ep, int etp, boolean distributed, int microBatch, int batch) {
    return new PlannedLayout(world, tp, tp > 1, ep, etp, distributed, microBatch, batch);
  }

  /** Nodes of eight whose links pass 1 GB/s without delay, so that seconds are GB. */
  static Cluster gigabytes(int world) {
    return new Cluster(Gpu.named("h200"), world, 8, 1e9, 1e9, 0);
  }
}
