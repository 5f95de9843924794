package moe4j.config;

/**
 * Builds the record of a run: a method for each component of {@link LoggingConfig}, which says what
 * they are.
 */
public interface LoggingConfigBuilder extends FlagsBuilder<LoggingConfig> {
  LoggingConfigBuilder logInterval(int value);

  LoggingConfigBuilder logThroughput(boolean value);

  LoggingConfigBuilder logParamsNorm(boolean value);

  LoggingConfigBuilder logNumZerosInGrad(boolean value);

  LoggingConfigBuilder tensorboardDir(String value);

  LoggingConfigBuilder metricsDir(String value);

  LoggingConfigBuilder runName(String value);

  LoggingConfigBuilder profile(boolean value);

  LoggingConfigBuilder profileStepStart(int value);

  LoggingConfigBuilder profileStepEnd(int value);
}
