/**
 * Layers of transformers: embeddings, attention, feed-forward blocks and norms. A layer takes its
 * parameters from a {@link moe4j.transformer.ParameterScope} and is a function of tensors and of a
 * {@link moe4j.transformer.Pass}; it owns no native memory but its parameters.
 */
package moe4j.transformer;
