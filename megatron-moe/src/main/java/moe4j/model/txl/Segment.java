package moe4j.model.txl;

import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * What all layers share in one pass over a segment.
 *
 * @param lengths of segment and memory
 * @param positions [K, h], row t for a distance of t
 * @param first int32 [1], the first key there is: before an epoch's start there is nothing
 * @param pass the micro-batch's
 */
record Segment(TransformerXlConfig.Lengths lengths, Tensor positions, Tensor first, Pass pass) {
  /**
   * The context of a layer's mixer.
   *
   * @param seen [B, K, h], the memory before the segment and the segment
   */
  SegmentContext of(Tensor seen) {
    return new SegmentContext(seen, positions, first, lengths.same());
  }
}
