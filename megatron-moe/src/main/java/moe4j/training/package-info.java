/**
 * The training loop, evaluation, checkpoints of a run, and what a run tells of itself.
 *
 * <p>{@link moe4j.training.Pretraining} sets a run up and {@link moe4j.training.Trainer} is its
 * loop. What the device does in a step is {@code DeviceStep}: pieces of {@code RepeatedWork}, which
 * a GPU captures as graphs. Between host and device stand {@link moe4j.training.step.BatchLoader},
 * {@link moe4j.training.step.BatchBuffers} and, for the answer whether a step was skipped, {@code
 * SkippedSteps}.
 */
package moe4j.training;
