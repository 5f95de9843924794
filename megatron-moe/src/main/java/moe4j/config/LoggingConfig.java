package moe4j.config;

/** The record of a run, by Megatron's flags and two of our own. */
public record LoggingConfig(
    @Flag(help = "steps between log lines", value = "100") int logInterval,
    @Flag(help = "log TFLOP/s") boolean logThroughput,
    @Flag(help = "log the norm of all parameters") boolean logParamsNorm,
    @Flag(help = "log how many gradient elements are zero") boolean logNumZerosInGrad,
    @Flag(help = "directory for TensorBoard's event files") String tensorboardDir,
    @Flag(help = "directory for metrics.jsonl, which moe4j compare reads", otherwise = "--save")
        String metricsDir,
    @Flag(help = "name of the run in reports", otherwise = "its directory's name") String runName,
    @Flag(help = "log a table of the GPU's kernels in some steps", needs = "device cuda")
        boolean profile,
    @Flag(help = "the first of these steps, from 0", value = "10", needs = "profile")
        int profileStepStart,
    @Flag(help = "the step after the last of them", value = "12", needs = "profile")
        int profileStepEnd) {

  /** Checks ranges. */
  public LoggingConfig {
    Faults faults = new Faults();
    faults.positive("log-interval", logInterval);
    faults.check(
        profileStepStart < 0 || profileStepEnd <= profileStepStart,
        "--profile-step-start %d to --profile-step-end %d are no steps",
        profileStepStart,
        profileStepEnd);
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static LoggingConfigBuilder builder() {
    return Builders.of(LoggingConfig.class, LoggingConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public LoggingConfigBuilder toBuilder() {
    return Builders.from(this, LoggingConfigBuilder.class);
  }
}
