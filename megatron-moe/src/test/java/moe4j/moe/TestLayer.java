package moe4j.moe;

import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.tensor.StepRandom;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The last MoE layer of three as its flags ask for it, by itself, its parameters drawn. */
public final class TestLayer implements AutoCloseable {
  /** The layer's number, and how many have experts. */
  static final int NUMBER = 2;

  static final int LAYERS = 3;

  public static final String ROUTER = "mlp.router.weight";
  static final String ROUTER_BIAS = "mlp.router.bias";
  static final String NOISE = "mlp.router.noise.weight";
  static final String FC1 = "mlp.experts.linear_fc1.weight";
  static final String BIAS1 = "mlp.experts.linear_fc1.bias";
  static final String FC2 = "mlp.experts.linear_fc2.weight";
  static final String BIAS2 = "mlp.experts.linear_fc2.bias";
  static final String SHARED = "mlp.shared_experts.";

  final GptConfig model;
  public final MoeConfig moe;
  public final ParameterSet parameters;
  public final MoeLayer layer;

  public TestLayer(Random random, int h, int f, String flags) {
    this(random, h, f, flags, ScalarType.Float);
  }

  public TestLayer(Random random, int h, int f, String flags, ScalarType dtype) {
    Flags.Parsed parsed =
        Flags.of(GptConfig.class, MoeConfig.class)
            .parse(
                Refusals.words(
                    ("--num-layers %d --num-attention-heads 1 --seq-length 1 --hidden-size %d"
                            + " --moe-ffn-hidden-size %d %s")
                        .formatted(LAYERS, h, f, flags)
                        .strip()));
    model = parsed.get(GptConfig.class);
    moe = parsed.get(MoeConfig.class);
    parameters = Models.parameters(dtype);
    layer = MoeLayer.create(model.layerShape(), moe, NUMBER, parameters.root().child("mlp"));
    Models.randomise(parameters, random, 0.5);
  }

  /** A layer of a gate that is Megatron's or one of FastMoE's, and small experts. */
  public static TestLayer of(Random random, String flags) {
    return new TestLayer(random, 8, 8, flags);
  }

  /** A training pass of step 0 whose samples are the first of the global batch. */
  public static Pass training(long samples) {
    return training(0, 0, samples);
  }

  public static Pass training(long step, long firstSample, long samples) {
    return Pass.training(new StepRandom(11, step, firstSample, samples));
  }

  public Tensor parameter(String name) {
    return Models.parameter(parameters, name);
  }

  boolean has(String name) {
    return parameters.all().stream().anyMatch(p -> p.name().equals(name));
  }

  public Tensor buffer(String name) {
    return parameters.buffers().stream()
        .filter(b -> b.name().equals(name))
        .map(Parameter.Buffer::tensor)
        .findFirst()
        .orElseThrow(() -> new AssertionError("no buffer " + name));
  }

  /** Lets go of all gradients. */
  public void forgetGradients() {
    parameters.all().forEach(p -> p.tensor().mutable_grad().reset());
  }

  @Override
  public void close() {
    parameters.close();
  }
}
