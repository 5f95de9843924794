package moe4j.model.txl;

import org.bytedeco.pytorch.Tensor;

/**
 * What a layer's mixer needs beside its segment's hidden state: the memory above all.
 *
 * @param seen [B, K, h], the memory before the segment and the segment; without a gradient where
 *     only the segment has one
 * @param positions [K, h], row t for a distance of t
 * @param first int32 [1], the first key there is: before an epoch's start there is nothing
 * @param same whether every position sees as many others
 */
public record SegmentContext(Tensor seen, Tensor positions, Tensor first, boolean same) {}
