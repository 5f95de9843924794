/**
 * The record of a training run: Megatron's log lines, {@code metrics.jsonl}, TensorBoard's event
 * files, and the report that compares runs. Nothing here knows of tensors.
 */
package moe4j.training.record;
