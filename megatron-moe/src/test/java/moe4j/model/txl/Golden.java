package moe4j.model.txl;

import static org.testng.Assert.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.Closeable;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import moe4j.checkpoint.SafeTensorsReader;
import moe4j.checkpoint.Slice;
import moe4j.checkpoint.StoredTensor;
import moe4j.config.Flags;
import moe4j.moe.Moe;
import moe4j.moe.MoeConfig;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What upstream's own code computes, and how its parameters are called; {@code
 * tests/golden/make_transformer_xl.py} made the files.
 */
final class Golden implements Closeable {
  private final SafeTensorsReader file;
  private final JsonNode config;

  private Golden(SafeTensorsReader file) throws IOException {
    this.file = file;
    this.config = new ObjectMapper().readTree(file.metadata().get("config"));
  }

  static Golden open(String name) throws IOException {
    try {
      return new Golden(
          SafeTensorsReader.open(
              Path.of(Golden.class.getResource("/golden/txl-" + name + ".safetensors").toURI())));
    } catch (URISyntaxException e) {
      throw new IllegalStateException(name, e);
    }
  }

  int integer(String name) {
    return config.path(name).asInt();
  }

  int metadata(String name) {
    return Integer.parseInt(file.metadata().get(name));
  }

  int vocabulary() {
    return integer("n_token");
  }

  /** Upstream's arguments as our flags. */
  TransformerXlConfig config() {
    List<String> line = new ArrayList<>();
    for (String name :
        "n_layer n_head d_head d_embed d_model d_inner tgt_len ext_len mem_len clamp_len div_val"
            .split(" ")) {
      line.add("--" + name.replace('_', '-'));
      line.add(config.get(name).asText());
    }
    flag(line, "same_length", "--same-length");
    flag(line, "pre_lnorm", "--pre-lnorm");
    if (!config.get("tie_weight").asBoolean()) {
      line.add("--not-tied");
    }
    if (!config.get("cutoffs").isEmpty()) {
      line.add("--adaptive");
      line.add("--cutoffs");
      config.get("cutoffs").forEach(cutoff -> line.add(cutoff.asText()));
    }
    return Flags.parse(TransformerXlConfig.class, line.toArray(new String[0]));
  }

  private void flag(List<String> line, String name, String flag) {
    if (config.get(name).asBoolean()) {
      line.add(flag);
    }
  }

  MoeConfig moe() {
    if (!config.has("moe_num_expert")) {
      return MoeConfig.dense();
    }
    return MoeConfig.parse(
        "--num-experts",
        config.get("moe_num_expert").asText(),
        "--top-k",
        config.get("moe_top_k").asText(),
        "--balance-strategy",
        "naive",
        "--add-expert-bias");
  }

  /** A tensor of the file: fp32 or int64. */
  Tensor tensor(String name) throws IOException {
    StoredTensor stored = file.tensors().get(name);
    if (stored == null) {
      throw new IllegalArgumentException("no tensor " + name);
    }
    ScalarType type =
        switch (stored.dtype()) {
          case F32 -> ScalarType.Float;
          case I64 -> ScalarType.Long;
          default -> throw new IllegalStateException(stored.toString());
        };
    long[] shape = stored.shape().stream().mapToLong(n -> n).toArray();
    Tensor tensor = Tensors.zeros(type, new Device("cpu"), shape);
    file.read(name, Slice.whole(stored.shape()), Tensors.window(tensor, 0, tensor.nbytes()));
    return tensor;
  }

  /**
   * The values of one of our parameters out of upstream's.
   *
   * @param prefix nothing, or what upstream's names have in front: {@code grad.0.}
   */
  Tensor of(String parameter, String prefix) throws IOException {
    String name =
        parameter
            .replaceFirst("^decoder\\.(r_._bias)$", "$1")
            .replaceFirst("^decoder\\.layers", "layers")
            .replaceFirst(
                "^embedding\\.clusters\\.(\\d)\\.word_emb.*", "word_emb.emb_layers.$1.weight")
            .replaceFirst("^embedding\\.clusters\\.(\\d)\\.word_proj.*", "word_emb.emb_projs.$1")
            .replaceFirst("^embedding\\.word_emb.*", "word_emb.emb_layers.0.weight")
            .replaceFirst("^embedding\\.word_proj.*", "word_emb.emb_projs.0")
            .replaceFirst("^output_layer\\.clusters\\.", "crit.out_layers.")
            .replaceFirst("^output_layer\\.projection.*", "crit.out_projs.0")
            .replaceFirst("^output_layer\\.cluster_", "crit.cluster_")
            .replaceFirst("^output_layer\\.", "crit.out_layers.0.")
            .replace("self_attention.linear_r.", "dec_attn.r_net.")
            .replace("self_attention.linear_proj.", "dec_attn.o_net.")
            .replace("attention_layernorm.", "dec_attn.layer_norm.")
            .replace("mlp_layernorm.", "pos_ff.layer_norm.")
            .replace("mlp.linear_fc1.", "pos_ff.CoreNet.0.")
            .replace("mlp.linear_fc2.", "pos_ff.CoreNet.3.")
            .replace("mlp.router.", "pos_ff.gate.gate.");
    if (name.contains("linear_q.") || name.contains("linear_kv.")) {
      Tensor qkv = tensor(prefix + name.replaceFirst("self_.*", "dec_attn.qkv_net.weight"));
      long inner = qkv.size(0) / 3;
      return name.contains("linear_q.") ? qkv.narrow(0, 0, inner) : qkv.narrow(0, inner, 2 * inner);
    }
    if (name.contains("mlp.experts.")) {
      String part =
          name.replaceFirst(".*linear_fc1", "htoh4").replaceFirst(".*linear_fc2", "h4toh");
      TensorVector each = new TensorVector();
      for (int e = 0; e < integer("moe_num_expert"); e++) {
        each.push_back(
            tensor(prefix + name.replaceFirst("mlp\\..*", "pos_ff.experts." + e + "." + part)));
      }
      return torch.cat(each, 0);
    }
    return tensor(prefix + name);
  }

  /** Upstream's model with upstream's weights, for so many columns. */
  TransformerXl model(int rows, ParameterSet parameters) throws IOException {
    TransformerXlConfig config = config();
    TransformerXl model =
        TransformerXl.create(
            config, vocabulary(), rows, Moe.feedForward(config.layerShape(), moe()), parameters);
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        Tensor value = of(parameter.name(), "");
        assertEquals(Tensors.shape(parameter.tensor()), Tensors.shape(value), parameter.name());
        parameter.tensor().copy_(value);
      }
    }
    return model;
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
