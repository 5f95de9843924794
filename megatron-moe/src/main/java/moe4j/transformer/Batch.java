package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/**
 * A micro-batch on the model's device.
 *
 * @param tokens int64 [B, S]
 * @param labels int64 [B, S], the next tokens
 * @param lossMask fp32 [B, S], 0 where no loss is taken
 * @param positions int64 [B, S], or null for 0 to S - 1
 * @param documents int64 [B, S], numbering a row's documents, or null where tokens see across them
 */
public record Batch(
    Tensor tokens, Tensor labels, Tensor lossMask, Tensor positions, Tensor documents) {}
