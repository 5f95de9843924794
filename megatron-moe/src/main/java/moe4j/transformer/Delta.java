package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/**
 * What a block adds to the residual stream. The block's last bias may still be missing: then the
 * kernel that adds to the stream adds the bias, too.
 *
 * @param value [..., h]
 * @param bias [h], still to be added; null where value contains it or the block has no bias
 */
public record Delta(Tensor value, Tensor bias) {}
