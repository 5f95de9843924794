package moe4j.model.txl;

import moe4j.config.Flag;

/** Flags of upstream's that moe4j has other ways for: refused in a sentence that names them. */
public record UpstreamFlags(
    @Flag(help = "refused: --device cuda says it") boolean cuda,
    @Flag(help = "refused: several GPUs are several processes") boolean multiGpu,
    @Flag(help = "refused: several GPUs are several processes", value = "-1") int gpu0Bsz,
    @Flag(help = "refused: --bf16 needs no loss scale") boolean fp16,
    @Flag(help = "refused but for 1: memories belong to the whole batch", value = "1")
        int batchChunk,
    @Flag(help = "refused: segments have one length") boolean varlen,
    @Flag(help = "FastMoE's, refused: --num-experts says it") boolean moe,
    @Flag(help = "FastMoE's name of --num-experts", otherwise = "none") Integer moeNumExpert,
    @Flag(help = "FastMoE's name of --top-k", otherwise = "none") Integer moeTopK) {

  /** Refuses. */
  public UpstreamFlags {
    refuse(cuda, "--cuda: --device cuda says it");
    refuse(
        multiGpu || gpu0Bsz != -1,
        "--multi-gpu, --gpu0-bsz: several GPUs are several processes (moe4j launch, torchrun)");
    refuse(fp16, "--fp16: --bf16 is moe4j's way, which needs no loss scale");
    refuse(batchChunk != 1, "--batch-chunk %d: a step takes the batch whole".formatted(batchChunk));
    refuse(varlen, "--varlen: segments have one length, so that a step can be captured");
    refuse(
        moe || moeNumExpert != null || moeTopK != null,
        "--moe, --moe-num-expert, --moe-top-k: experts are --num-experts N --top-k K, as in GPT");
  }

  private static void refuse(boolean typed, String sentence) {
    if (typed) {
      throw new IllegalArgumentException(sentence);
    }
  }
}
