package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.model.gpt.GptCheckpoint;
import moe4j.model.gpt.GptModel;
import moe4j.model.gpt.Sampler;
import moe4j.tensor.Tensors;
import moe4j.tokenizer.Tokenizer;
import moe4j.training.step.ComputeDevice;
import moe4j.transformer.Batch;
import moe4j.transformer.Pass;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code moe4j generate}: continues a text.
 *
 * <pre>moe4j generate --load runs/demo/experts --prompt "public static void "</pre>
 */
public final class GenerateCommand implements Command {
  private static final Logger LOG = LogManager.getLogger(GenerateCommand.class);

  /** Its flags. */
  public record Options(
      @Flag(help = "directory of checkpoints, the latest of which is used", required = true)
          String load,
      @Flag(help = "text to continue; none begins a document") String prompt,
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

  @Override
  public String name() {
    return "generate";
  }

  @Override
  public String summary() {
    return "sample text from a checkpoint";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class, SavedGateFlags.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    String gate = parsed.get(SavedGateFlags.class).balanceStrategy();
    Sampler sampler = new Sampler(options.temperature(), options.topK(), options.topP());
    try (ComputeDevice device = ComputeDevice.open(options.device());
        GptCheckpoint checkpoint =
            GptCheckpoint.load(Path.of(options.load()), gate, device.device(), LOG::warn)) {
      Tokenizer tokenizer = checkpoint.tokenizer();
      Random random = new Random(options.seed());
      int[] prompt = prompt(tokenizer, options.prompt());
      for (int i = 0; i < options.numSamples(); i++) {
        int[] text =
            generate(
                checkpoint.model(), tokenizer, sampler, prompt, options.maxNewTokens(), random);
        System.out.println(tokenizer.decode(text));
        if (i + 1 < options.numSamples()) {
          System.out.println("----");
        }
      }
    }
    return 0;
  }

  /** The text's tokens; without any, the end of a document, behind which one begins. */
  static int[] prompt(Tokenizer tokenizer, String text) {
    int[] tokens = text == null || text.isEmpty() ? new int[0] : tokenizer.encodePrompt(text);
    if (tokens.length == 0 && tokenizer.eod() < 0) {
      throw new IllegalArgumentException(
          "--prompt is needed: the tokenizer has no end-of-document token to begin with");
    }
    return tokens.length == 0 ? new int[] {tokenizer.eod()} : tokens;
  }

  /**
   * Continues a text until the end of the document or the last token asked for.
   *
   * @return the prompt and what follows it, without ends of documents
   */
  static int[] generate(
      GptModel model,
      Tokenizer tokenizer,
      Sampler sampler,
      int[] prompt,
      int newTokens,
      Random random) {
    int[] tokens = Arrays.copyOf(prompt, prompt.length + newTokens);
    int length = prompt.length;
    while (length < tokens.length) {
      float[] logits = next(model, tokens, length);
      int token = sampler.draw(logits, Math.min(tokenizer.vocabSize(), logits.length), random);
      if (token == tokenizer.eod()) {
        break;
      }
      tokens[length++] = token;
    }
    int begin = prompt.length == 1 && prompt[0] == tokenizer.eod() ? 1 : 0;
    return Arrays.copyOfRange(tokens, begin, length);
  }

  /** The logits behind the last token; of a long text the model sees its last part. */
  private static float[] next(GptModel model, int[] tokens, int length) {
    int window = Math.min(length, model.config().seqLength());
    long[] seen = new long[window];
    for (int i = 0; i < window; i++) {
      seen[i] = tokens[length - window + i];
    }
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      Tensor input = Tensors.of(seen, 1, window).to(model.parameters().device(), ScalarType.Long);
      Batch batch = new Batch(input, null, null, null, null);
      Tensor last = model.hidden(batch, Pass.evaluation()).select(1, window - 1);
      return Tensors.floats(model.project(last));
    }
  }
}
