package moe4j.config;

import java.util.Map;

/** Values that Megatron takes of flags which moe4j has, each with why it is not taken here. */
final class MegatronValues {
  private static final Map<String, String> REASONS =
      Map.ofEntries(
          Map.entry(
              "moe-router-load-balancing-type sinkhorn",
              "it is not built, as each of its rounds would ask the GPU whether it is the last, which"
                  + " no captured step can; use aux_loss or, without a loss,"
                  + " --moe-router-enable-expert-bias"),
          Map.entry(
              "moe-token-dispatcher-type flex",
              "it needs DeepEP or HybridEP, which come later; use alltoall"),
          Map.entry(
              "position-embedding-type yarn",
              "positions stretched to longer sequences are not built; use rope"),
          Map.entry(
              "position-embedding-type mrope",
              "it is for images among the text, and there is no vision; use rope"),
          Map.entry(
              "position-embedding-type relative",
              "its biases between positions are T5's, which is not built; use rope"),
          Map.entry(
              "attention-backend local",
              "it is Megatron's attention of single operations, which is called unfused here"),
          Map.entry(
              "optimizer sgd",
              "plain gradient descent is not built, as transformers are trained with AdamW; use adam"),
          Map.entry("optimizer muon", "updates of whole matrices are not built yet; use adam"));

  private MegatronValues() {}

  /** Why a value is not taken, behind a colon; empty for one that Megatron does not take. */
  static String reason(String flag, Object value) {
    String reason = REASONS.get(flag + " " + value);
    return reason == null ? "" : ": " + reason;
  }
}
