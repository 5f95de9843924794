/**
 * Text to token ids and back, behind {@link moe4j.tokenizer.Tokenizer}: bytes, GPT-2's BPE, a
 * {@code tokenizer.json} and ids written as text. {@link moe4j.tokenizer.Tokenizers} makes one from
 * Megatron's flags.
 */
package moe4j.tokenizer;
