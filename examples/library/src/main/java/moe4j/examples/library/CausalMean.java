package moe4j.examples.library;

import moe4j.transformer.Delta;
import moe4j.transformer.Linear;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import moe4j.transformer.SequenceContext;
import moe4j.transformer.SequenceMixer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** What may stand in attention's place: each token is told the mean of all tokens up to it. */
// [mixer]
public final class CausalMean implements SequenceMixer<SequenceContext> {
  private final Linear out;

  /** The block of a layer. */
  public CausalMean(long h, ParameterScope parameters) {
    this.out = new Linear(parameters.child("linear"), h, h, 0.1, true);
  }

  @Override
  public Delta delta(Tensor hidden, SequenceContext context, Pass pass) {
    long tokens = hidden.size(1);
    Tensor sums = hidden.cumsum(1);
    Tensor counts = torch.arange(new Scalar(1), new Scalar(tokens + 1), hidden.options());
    return new Delta(out.forward(sums.div(counts.unsqueeze(1))), null);
  }
}
// [/mixer]
