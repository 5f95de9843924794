package moe4j.optimizer;

import moe4j.config.FlagsBuilder;

/**
 * Builds an optimizer and its schedule: a method for each component of {@link OptimizerConfig},
 * which says what they are.
 */
public interface OptimizerConfigBuilder extends FlagsBuilder<OptimizerConfig> {
  OptimizerConfigBuilder optimizer(String value);

  OptimizerConfigBuilder lr(double value);

  OptimizerConfigBuilder minLr(double value);

  OptimizerConfigBuilder lrDecayStyle(String value);

  OptimizerConfigBuilder lrDecayIters(Integer value);

  OptimizerConfigBuilder lrDecaySamples(Long value);

  OptimizerConfigBuilder lrWarmupIters(int value);

  OptimizerConfigBuilder lrWarmupSamples(long value);

  OptimizerConfigBuilder lrWarmupFraction(Double value);

  OptimizerConfigBuilder lrWarmupInit(double value);

  OptimizerConfigBuilder lrWsdDecayStyle(String value);

  OptimizerConfigBuilder lrWsdDecayIters(Integer value);

  OptimizerConfigBuilder lrWsdDecaySamples(Long value);

  OptimizerConfigBuilder weightDecay(double value);

  OptimizerConfigBuilder adamBeta1(double value);

  OptimizerConfigBuilder adamBeta2(double value);

  OptimizerConfigBuilder adamEps(double value);

  OptimizerConfigBuilder clipGrad(double value);

  OptimizerConfigBuilder usePrecisionAwareOptimizer(boolean value);

  OptimizerConfigBuilder mainGradsDtype(String value);

  OptimizerConfigBuilder mainParamsDtype(String value);

  OptimizerConfigBuilder expAvgDtype(String value);

  OptimizerConfigBuilder expAvgSqDtype(String value);

  OptimizerConfigBuilder masterStorage(String value);
}
