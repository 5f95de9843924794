package moe4j.parallel;

import moe4j.config.FlagsBuilder;

/**
 * Builds how a run is divided among processes: a method for each component of {@link
 * ParallelConfig}, which says what they are.
 */
public interface ParallelConfigBuilder extends FlagsBuilder<ParallelConfig> {
  ParallelConfigBuilder tensorModelParallelSize(int value);

  ParallelConfigBuilder sequenceParallel(boolean value);

  ParallelConfigBuilder expertModelParallelSize(int value);

  ParallelConfigBuilder expertTensorParallelSize(Integer value);

  ParallelConfigBuilder useDistributedOptimizer(boolean value);

  ParallelConfigBuilder overlapGradReduce(boolean value);

  ParallelConfigBuilder ddpBucketSize(Long value);

  ParallelConfigBuilder distributedBackend(String value);

  ParallelConfigBuilder distributedTimeoutMinutes(double value);
}
