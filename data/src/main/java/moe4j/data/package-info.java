/**
 * Megatron's datasets, exactly, so that files and runs can be exchanged: {@code .bin/.idx} files
 * ({@link moe4j.data.IndexedDataset}, {@link moe4j.data.IndexedDatasetWriter}), the three GPT
 * indices ({@link moe4j.data.GptIndices}), samples ({@link moe4j.data.GptDataset}), splits, blends
 * and the sampler that resumes.
 */
package moe4j.data;
