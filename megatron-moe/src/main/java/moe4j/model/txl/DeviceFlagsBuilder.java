package moe4j.model.txl;

import moe4j.config.FlagsBuilder;

/**
 * Builds what a run computes on and how it is looked at: a method for each component of {@link
 * DeviceFlags}, which says what they are.
 */
public interface DeviceFlagsBuilder extends FlagsBuilder<DeviceFlags> {
  DeviceFlagsBuilder device(String value);

  DeviceFlagsBuilder bf16(boolean value);

  DeviceFlagsBuilder usePrecisionAwareOptimizer(boolean value);

  DeviceFlagsBuilder mainGradsDtype(String value);

  DeviceFlagsBuilder mainParamsDtype(String value);

  DeviceFlagsBuilder expAvgDtype(String value);

  DeviceFlagsBuilder expAvgSqDtype(String value);

  DeviceFlagsBuilder masterStorage(String value);

  DeviceFlagsBuilder cudaGraph(String value);

  DeviceFlagsBuilder deterministicMode(boolean value);

  DeviceFlagsBuilder noFusedKernels(boolean value);

  DeviceFlagsBuilder numThreads(Integer value);

  DeviceFlagsBuilder exitInterval(Integer value);

  DeviceFlagsBuilder exitDurationInMins(Integer value);

  DeviceFlagsBuilder noCheckForNanInLossAndGrad(boolean value);

  DeviceFlagsBuilder logParamsNorm(boolean value);

  DeviceFlagsBuilder tensorboardDir(String value);

  DeviceFlagsBuilder runName(String value);

  DeviceFlagsBuilder profile(boolean value);

  DeviceFlagsBuilder profileStepStart(int value);

  DeviceFlagsBuilder profileStepEnd(int value);
}
