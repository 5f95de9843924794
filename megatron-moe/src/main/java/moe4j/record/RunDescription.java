package moe4j.record;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What a run is, for its record.
 *
 * @param name the run's name in reports
 * @param arguments every argument by Megatron's name ({@code num_layers}); values are numbers,
 *     truth values, texts, lists of them, or null
 * @param totalParameters parameters of the model
 * @param activeParameters parameters that one token meets: of the experts, those it goes to
 * @param tokensPerSample tokens a sequence
 * @param environment what else is worth knowing: device, threads, versions, commit
 */
public record RunDescription(
    String name,
    Map<String, Object> arguments,
    long totalParameters,
    long activeParameters,
    int tokensPerSample,
    Map<String, String> environment) {

  /** The environment's key of what kind of model it is, such as {@code GPT}. */
  public static final String MODEL = "model";

  /** Copies the maps in their order. */
  public RunDescription {
    arguments = Collections.unmodifiableMap(new LinkedHashMap<>(arguments));
    environment = Collections.unmodifiableMap(new LinkedHashMap<>(environment));
  }
}
