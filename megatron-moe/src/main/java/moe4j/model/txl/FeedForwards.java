package moe4j.model.txl;

import java.util.ArrayList;
import java.util.List;
import moe4j.config.Flags;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.transformer.FeedForward;

/**
 * The layers' feed-forward blocks, dense ones and those with experts. An expert is upstream's block
 * in small, as in FastMoE's Transformer-XL: ReLU and dropout within, all weights from N(0,
 * init-std).
 */
public final class FeedForwards {
  private FeedForwards() {}

  /** What makes a model's blocks. */
  public static FeedForward.Factory of(TransformerXlConfig config, MoeConfig moe) {
    return Moe.feedForward(config.layerShape(), moe);
  }

  /** The model in Megatron's words, as far as there are any. */
  static GptConfig shape(TransformerXlConfig config) {
    List<String> line = new ArrayList<>(List.of("--relu", "--position-embedding-type", "none"));
    add(line, "--num-layers", config.nLayer());
    add(line, "--hidden-size", config.dModel());
    add(line, "--num-attention-heads", config.nHead());
    add(line, "--kv-channels", config.dHead());
    add(line, "--ffn-hidden-size", config.dInner());
    add(line, "--seq-length", config.lengths().queries());
    add(line, "--make-vocab-size-divisible-by", 1);
    add(line, "--init-method-std", config.initStd());
    add(line, "--hidden-dropout", config.dropout());
    add(line, "--attention-dropout", config.dropatt());
    if (config.notTied()) {
      line.add("--untie-embeddings-and-output-weights");
    }
    return Flags.parse(GptConfig.class, line.toArray(new String[0]));
  }

  private static void add(List<String> line, String flag, Object value) {
    line.add(flag);
    line.add(value.toString());
  }
}
