/**
 * Megatron's {@code preprocess_data}: JSON lines or plain text in, {@code .bin/.idx} files out.
 * {@link moe4j.data.preprocess.Preprocessor} is the way in.
 */
package moe4j.data.preprocess;
