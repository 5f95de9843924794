package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.checkpoint.Checkpoint;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.model.Continuation;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.model.Sampler;
import moe4j.model.TextModel;
import moe4j.training.step.ComputeDevice;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * {@code moe4j generate}: continues a text.
 *
 * <pre>moe4j generate --load runs/demo/experts --prompt "public static void "</pre>
 */
public final class GenerateCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(GenerateCommand.class);

  /** Its flags. */
  public record Options(
      @Flag(
              help =
                  "directory of checkpoints: the latest is used, of a Transformer-XL's run the"
                      + " best; --load DIR --help lists the flags for its kind of model",
              required = true)
          String load,
      @Flag(help = "text to continue", otherwise = "a document is begun, if tokens can say so")
          String prompt,
      @Flag(help = "tokens to generate", value = "256") int maxNewTokens,
      @Flag(help = "texts to generate", value = "1") int numSamples,
      @Flag(help = "divides the logits; 0 takes the most likely token", value = "0.8")
          double temperature,
      @Flag(help = "keep the k most likely tokens; 0 keeps all", value = "0") int topK,
      @Flag(help = "keep the most likely tokens that make up this probability", value = "1.0")
          double topP,
      @Flag(
              help = "where to compute",
              value = "cpu",
              choices = {"cpu", "cuda"})
          String device,
      @Flag(help = "seed of the draws", value = "1234") int seed) {

    /** Checks ranges. */
    public Options {
      if (maxNewTokens < 1 || numSamples < 1) {
        throw new IllegalArgumentException(
            "--max-new-tokens %d and --num-samples %d: both are to be positive"
                .formatted(maxNewTokens, numSamples));
      }
    }
  }

  private final ModelFamily family;

  /** The command; without a checkpoint that says otherwise its flags are a GPT's. */
  public GenerateCommand() {
    this(ModelFamilies.named("gpt"));
  }

  private GenerateCommand(ModelFamily family) {
    this.family = family;
  }

  @Override
  public String name() {
    return "generate";
  }

  @Override
  public Command of(String[] args) throws IOException {
    String load = CommandLines.valueOf("--load", flags(), args);
    return load == null
        ? this
        : SavedModels.family(Path.of(load)).map(GenerateCommand::new).orElse(this);
  }

  @Override
  public String summary() {
    return "sample text from a checkpoint";
  }

  @Override
  public Flags flags() {
    List<Class<? extends Record>> flags = new ArrayList<>(List.of(Options.class));
    flags.addAll(family.textFlags());
    flags.add(SavedGateFlags.class);
    return Flags.of(flags);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    String gate = parsed.get(SavedGateFlags.class).balanceStrategy();
    Sampler sampler = new Sampler(options.temperature(), options.topK(), options.topP());
    try (ComputeDevice device = ComputeDevice.open(options.device());
        Checkpoint checkpoint = SavedModels.open(Path.of(options.load()), family, LOG::warn);
        TextModel model = family.text(checkpoint, gate, parsed, device.device())) {
      Continuation continuation = new Continuation(model, sampler);
      Random random = new Random(options.seed());
      int[] prompt = continuation.prompt(options.prompt());
      for (int i = 0; i < options.numSamples(); i++) {
        int[] text = continuation.of(prompt, options.maxNewTokens(), random);
        System.out.println(model.tokenizer().decode(text));
        if (i + 1 < options.numSamples()) {
          System.out.println("----");
        }
      }
    }
    return 0;
  }
}
