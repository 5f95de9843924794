package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/**
 * What a block adds to the residual stream, its last bias perhaps not added yet: the kernel that
 * adds to the stream adds that in passing.
 *
 * @param value [..., h]
 * @param bias [h], or null where value has it or there is none
 */
public record Delta(Tensor value, Tensor bias) {}
