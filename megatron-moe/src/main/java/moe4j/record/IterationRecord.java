package moe4j.record;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What one log interval came to. Null stands for what is not measured or does not apply.
 *
 * @param iteration the step just finished, from 1
 * @param trainIters steps in all
 * @param consumedSamples sequences trained on so far
 * @param skippedSamples sequences left out by request so far
 * @param millisPerIteration elapsed milliseconds a step, over the interval
 * @param teraflops TFLOP/s a device; null without {@code --log-throughput}
 * @param learningRate the rate that the next step will use, as Megatron logs it
 * @param globalBatchSize sequences a step
 * @param losses by Megatron's keys, in order ({@code lm loss}, {@code load_balancing_loss}, {@code
 *     z_loss}), each the mean over the interval's steps that were not skipped
 * @param lossScale the loss scale
 * @param gradNorm norm of all gradients before clipping; null when the step was skipped
 * @param numZeros gradient elements that are zero; null without {@code --log-num-zeros-in-grad}
 * @param paramsNorm norm of all parameters; null without {@code --log-params-norm}
 * @param skippedIterations steps of the interval without an update
 * @param nanIterations steps of the interval whose loss was not finite
 * @param tokensPerSecond over all devices
 * @param mfu model FLOPs utilisation in percent of {@code peak}; null where the peak is not known
 * @param peak what {@code mfu} is a share of; null with it
 * @param livePointers native objects that Java holds
 * @param experts the experts' load over the interval; null without experts
 * @param figures what else the layers measure ({@code router entropy}), by name, in order, each the
 *     mean over the layers and over the interval's steps that were not skipped
 * @param memory of the GPU at the interval's end; null on a CPU
 */
public record IterationRecord(
    int iteration,
    int trainIters,
    long consumedSamples,
    long skippedSamples,
    double millisPerIteration,
    Double teraflops,
    Double learningRate,
    int globalBatchSize,
    Map<String, Double> losses,
    double lossScale,
    Double gradNorm,
    Long numZeros,
    Double paramsNorm,
    int skippedIterations,
    int nanIterations,
    double tokensPerSecond,
    Double mfu,
    Peak peak,
    long livePointers,
    ExpertLoad.Summary experts,
    Map<String, Double> figures,
    DeviceMemory memory) {

  /** The key of the language model's loss. */
  public static final String LM_LOSS = "lm loss";

  /** The key of the same in bits per character, where a token is a byte. */
  public static final String BPC = "bpc";

  /** Copies losses and figures in their order. */
  public IterationRecord {
    losses = Collections.unmodifiableMap(new LinkedHashMap<>(losses));
    figures = Collections.unmodifiableMap(new LinkedHashMap<>(figures));
    if ((mfu == null) != (peak == null)) {
      throw new IllegalArgumentException("MFU and the peak it is a share of come together");
    }
    if (mfu != null && mfu > 100) {
      throw new IllegalArgumentException("an MFU of %s%% is not possible".formatted(mfu));
    }
  }

  /** What was measured, by the keys of the log line and in its order. */
  public Map<String, Number> values() {
    Map<String, Number> values = new LinkedHashMap<>();
    values.put("elapsed time per iteration (ms)", millisPerIteration);
    putIfMeasured(values, "throughput per GPU (TFLOP/s/GPU)", teraflops);
    putIfMeasured(values, "learning rate", learningRate);
    values.put("global batch size", globalBatchSize);
    values.putAll(losses);
    values.put("loss scale", lossScale);
    putIfMeasured(values, "grad norm", gradNorm);
    putIfMeasured(values, "num zeros", numZeros);
    putIfMeasured(values, "params norm", paramsNorm);
    values.put("number of skipped iterations", skippedIterations);
    values.put("number of nan iterations", nanIterations);
    values.put("tokens/s", tokensPerSecond);
    putIfMeasured(values, "MFU (%)", mfu);
    values.put("live native pointers", livePointers);
    if (experts != null) {
      values.put("max/mean expert load", experts.maxOverMean());
      values.put("expert load CV", experts.cv());
      values.put("dropped share", experts.droppedShare());
    }
    // A user's gate names its figures as it likes; what is Megatron's and ours stays.
    figures.forEach(values::putIfAbsent);
    if (memory != null) {
      values.putAll(memory.values());
    }
    return values;
  }

  private static void putIfMeasured(Map<String, Number> values, String key, Number value) {
    if (value != null) {
      values.put(key, value);
    }
  }
}
