/**
 * Many processes, one model: which rank holds and computes what ({@link moe4j.parallel.Layout},
 * {@link moe4j.parallel.Shard}), the groups of ranks that communicate ({@link
 * moe4j.parallel.Groups}), and communication as a part of a model, with its gradient ({@link
 * moe4j.parallel.Mappings}). Transport is PyTorch's c10d: Gloo on CPUs, NCCL on GPUs.
 */
package moe4j.parallel;
