package moe4j.optimizer;

import java.util.List;
import moe4j.config.Builders;
import moe4j.config.Faults;
import moe4j.config.Flag;

/** The optimizer and its learning-rate schedule, by Megatron's flags. */
public record OptimizerConfig(
    @Flag(
            help = "optimizer",
            value = "adam",
            choices = {"adam"})
        String optimizer,
    @Flag(help = "highest learning rate", required = true) double lr,
    @Flag(help = "lowest learning rate", value = "0.0") double minLr,
    @Flag(
            help = "how the learning rate falls",
            value = "linear",
            choices = {"constant", "linear", "cosine", "inverse-square-root", "WSD"})
        String lrDecayStyle,
    @Flag(help = "iterations until the lowest learning rate", otherwise = "train-iters")
        Integer lrDecayIters,
    @Flag(help = "samples until the lowest learning rate", otherwise = "train-samples")
        Long lrDecaySamples,
    @Flag(help = "iterations of linear warm-up", value = "0") int lrWarmupIters,
    @Flag(help = "samples of linear warm-up", value = "0") long lrWarmupSamples,
    @Flag(help = "share of the decay that is warm-up") Double lrWarmupFraction,
    @Flag(help = "learning rate at the warm-up's start", value = "0.0") double lrWarmupInit,
    @Flag(
            help = "how WSD's last part falls",
            value = "exponential",
            choices = {"exponential", "linear", "cosine", "minus_sqrt"},
            needs = "lr-decay-style WSD")
        String lrWsdDecayStyle,
    @Flag(help = "iterations of WSD's last part", needs = "lr-decay-style WSD")
        Integer lrWsdDecayIters,
    @Flag(help = "samples of WSD's last part", needs = "lr-decay-style WSD") Long lrWsdDecaySamples,
    @Flag(help = "weight decay, of weights only: not of norms and biases", value = "0.01")
        double weightDecay,
    @Flag(help = "AdamW's decay of the first moment", value = "0.9") double adamBeta1,
    @Flag(help = "AdamW's decay of the second moment", value = "0.999") double adamBeta2,
    @Flag(help = "AdamW's epsilon", value = "1e-8") double adamEps,
    @Flag(help = "largest global gradient norm; 0 for no clipping", value = "1.0") double clipGrad,
    @Flag(help = "take the types of gradients' sums and moments from the four flags below")
        boolean usePrecisionAwareOptimizer,
    @Flag(
            help =
                "type of the sums of gradients, over micro-batches and ranks; bf16 with --bf16 only",
            value = "fp32",
            choices = {"fp32", "bf16"},
            needs = "use-precision-aware-optimizer")
        String mainGradsDtype,
    @Flag(
            help = "type of the masters of bf16 parameters",
            value = "fp32",
            choices = {"fp32", "fp16"},
            needs = "use-precision-aware-optimizer")
        String mainParamsDtype,
    @Flag(
            help = "how AdamW's first moments are kept; bf16 and fp8 are rounded by keyed draws",
            value = "fp32",
            choices = {"fp32", "fp16", "bf16", "fp8"},
            needs = "use-precision-aware-optimizer")
        String expAvgDtype,
    @Flag(
            help = "how AdamW's second moments are kept, likewise",
            value = "fp32",
            choices = {"fp32", "fp16", "bf16", "fp8"},
            needs = "use-precision-aware-optimizer")
        String expAvgSqDtype,
    @Flag(
            help =
                "how fp32 masters of bf16 parameters are kept: whole, or as the 16 bits that the"
                    + " parameter lacks",
            otherwise = "remainder on a GPU, whole on a CPU",
            choices = {"whole", "remainder"})
        String masterStorage) {

  /** Checks ranges and that iterations and samples are not mixed. */
  public OptimizerConfig {
    Faults faults = new Faults();
    faults.check(
        !(lr >= 0) || !(minLr >= 0) || minLr > lr,
        "--lr %s and --min-lr %s: 0 <= min-lr <= lr is asked for",
        lr,
        minLr);
    faults.check(
        lr >= 0 && !(lrWarmupInit >= 0 && lrWarmupInit <= lr),
        "--lr-warmup-init %s is not between 0 and --lr %s",
        lrWarmupInit,
        lr);
    faults.belowOne("adam-beta1", adamBeta1);
    faults.belowOne("adam-beta2", adamBeta2);
    faults.check(
        !(adamEps > 0) || !(weightDecay >= 0) || !(clipGrad >= 0),
        "--adam-eps %s, --weight-decay %s, --clip-grad %s: none may be negative, and epsilon not 0",
        adamEps,
        weightDecay,
        clipGrad);
    faults.check(
        lrWarmupFraction != null && !(lrWarmupFraction >= 0 && lrWarmupFraction < 1),
        "--lr-warmup-fraction %s is not in [0, 1)",
        lrWarmupFraction);
    faults.check(
        lrWarmupFraction != null && (lrWarmupIters != 0 || lrWarmupSamples != 0),
        "--lr-warmup-fraction and --lr-warmup-iters or --lr-warmup-samples exclude each other");
    boolean wsd = lrDecayStyle.equals("WSD");
    faults.check(
        wsd && lrWsdDecayIters == null && lrWsdDecaySamples == null,
        "--lr-decay-style WSD needs --lr-wsd-decay-iters or --lr-wsd-decay-samples");
    faults.check(
        lrWarmupIters < 0 || lrWarmupSamples < 0,
        "--lr-warmup-iters and --lr-warmup-samples: none may be negative");
    faults.check(
        mainParamsDtype.equals("fp16"),
        "--main-params-dtype fp16 is not taken: an fp32 master adds 16 bits to its bf16 parameter (--master-storage remainder), which are as many as fp16's: leave the flag out");
    faults.none(() -> refuseFp16("exp-avg-dtype", expAvgDtype));
    faults.none(() -> refuseFp16("exp-avg-sq-dtype", expAvgSqDtype));
    faults.positive("lr-decay-iters", lrDecayIters);
    faults.positive("lr-decay-samples", lrDecaySamples);
    faults.positive("lr-wsd-decay-iters", lrWsdDecayIters);
    faults.positive("lr-wsd-decay-samples", lrWsdDecaySamples);
    faults.refuse();
  }

  private static void refuseFp16(String flag, String type) {
    if (type.equals("fp16")) {
      throw new IllegalArgumentException(
          "--%s fp16 is not taken: give bf16, which takes as many bytes and has fp32's range"
              .formatted(flag));
    }
  }

  /** A builder whose values are the flags' defaults. */
  public static OptimizerConfigBuilder builder() {
    return Builders.of(OptimizerConfig.class, OptimizerConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public OptimizerConfigBuilder toBuilder() {
    return Builders.from(this, OptimizerConfigBuilder.class);
  }

  /**
   * Refuses types that the rest of a run rules out.
   *
   * @param bf16 whether parameters are in bf16
   * @param libtorchOnGpu whether a GPU's updates are libtorch's operations
   */
  public void checkTypes(boolean bf16, boolean libtorchOnGpu) {
    if (sumsInBf16() && !bf16) {
      throw new IllegalArgumentException(
          "--main-grads-dtype bf16 is for a model in bf16: give --bf16 too, or leave it out");
    }
    if (masterStorage != null && !bf16) {
      throw new IllegalArgumentException(
          "--master-storage %s is for a model in bf16, since fp32 parameters have no masters: give --bf16 too, or leave it out"
              .formatted(masterStorage));
    }
    if (libtorchOnGpu && !(expAvgDtype.equals("fp32") && expAvgSqDtype.equals("fp32"))) {
      throw new IllegalArgumentException(
          "--exp-avg-dtype %s and --exp-avg-sq-dtype %s on a GPU need moe4j's kernels: leave out --no-fused-kernels"
              .formatted(expAvgDtype, expAvgSqDtype));
    }
  }

  /** What is taken but likely not meant: a sentence each. */
  public List<String> warnings() {
    return expAvgDtype.equals("fp8") && !expAvgSqDtype.equals("fp8")
        ? List.of(
            "--exp-avg-dtype fp8 --exp-avg-sq-dtype %s: nothing bounds an update where neighbours' gradients differ by 100,000 times; --exp-avg-sq-dtype fp8 does, and so do first moments in bf16"
                .formatted(expAvgSqDtype))
        : List.of();
  }

  /** Whether gradients are summed in bf16. */
  boolean sumsInBf16() {
    return mainGradsDtype.equals("bf16");
  }

  /** Whether masters are kept as what the parameters lack. */
  boolean splitsMasters(boolean gpu) {
    return masterStorage == null ? gpu : masterStorage.equals("remainder");
  }

  /** The flag that counts in iterations, where one is given. */
  String iterationFlag() {
    return lrDecayIters != null
        ? "--lr-decay-iters"
        : lrWarmupIters != 0
            ? "--lr-warmup-iters"
            : lrWsdDecayIters != null ? "--lr-wsd-decay-iters" : null;
  }

  /** The flag that counts in samples, where one is given. */
  String sampleFlag() {
    return lrDecaySamples != null
        ? "--lr-decay-samples"
        : lrWarmupSamples != 0
            ? "--lr-warmup-samples"
            : lrWsdDecaySamples != null ? "--lr-wsd-decay-samples" : null;
  }
}
