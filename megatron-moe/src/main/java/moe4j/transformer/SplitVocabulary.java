package moe4j.transformer;

import moe4j.kernels.loss.CrossEntropy;
import moe4j.kernels.loss.CrossEntropyPart;
import moe4j.kernels.product.Gemm;
import moe4j.parallel.Group;
import moe4j.parallel.Mappings;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * The word embedding and the output layer, each rank with an n-th of the vocabulary's rows (Shoeybi
 * et al. 2019, section 3).
 */
public final class SplitVocabulary {
  private SplitVocabulary() {}

  /**
   * This rank's part of the tokens' embeddings: zeros for tokens whose row another rank has, so
   * that the sum over the ranks is the embedding.
   *
   * @param weight [V/n, h], this rank's rows
   * @param tokens int64 [B, S], each in [0, V)
   * @return [B, S, h]
   */
  public static Tensor embedding(Tensor weight, Tensor tokens, Group group) {
    if (group.isAlone()) {
      return torch.embedding(weight, tokens);
    }
    Tensor own = own(tokens, weight.size(0), group);
    Tensor foreign = own.lt(new Scalar(0));
    return torch
        .embedding(weight, own.clamp_min(new Scalar(0)))
        .masked_fill(foreign.unsqueeze(2), new Scalar(0));
  }

  /** Numbers among this rank's rows; negative for those of others. */
  private static Tensor own(Tensor tokens, long rows, Group group) {
    Tensor own = tokens.sub(new Scalar(group.rank() * rows));
    return own.masked_fill(own.ge(new Scalar(rows)), new Scalar(-1));
  }

  /**
   * The output layer and the loss of its logits, as {@link CrossEntropy#linear}: the logits of
   * other ranks' rows stay with them.
   *
   * @param hidden [B, S, h], the same on every rank; or [B, S/n, h], this rank's part of the tokens
   * @param weight [V/n, h], this rank's rows
   * @param labels int64 [B, S], each in [0, V)
   * @param sliced whether ranks have parts of the tokens
   * @return fp32 [B, S], the same on every rank
   */
  public static Tensor loss(
      Tensor hidden, Tensor weight, Tensor labels, Group group, boolean sliced) {
    Tensor flat = labels.flatten();
    if (group.isAlone()) {
      return CrossEntropy.linear(hidden.flatten(0, 1), weight, flat).view(labels.shape());
    }
    Tensor logits =
        sliced
            ? GatheredLinear.apply(hidden, weight, null, group)
            : Gemm.linear(Mappings.copy(hidden, group), weight, null);
    return new Loss(group).apply(logits.flatten(0, 1), flat)[0].view(labels.shape());
  }

  /** {@code logsumexp(x) - x[label]} of logits that are spread over ranks. */
  private static final class Loss extends CustomFunction {
    private final Group group;
    private CrossEntropyPart part;
    private Tensor logits;
    private Tensor labels;
    private Tensor logSums;

    Loss(Group group) {
      this.group = group;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      int rows = Math.toIntExact(inputs[0].size(1));
      part = new CrossEntropyPart(group.rank() * rows, group.size() * rows);
      logits = save(inputs[0].contiguous());
      labels = save(inputs[1].contiguous());
      Tensor own = part.sums(logits, labels);
      long tokens = own.size(0);
      Tensor gathered = Tensors.empty(Tensors.dtype(own), own.device(), group.size() * tokens, 2);
      group.allGather(gathered, own).await();
      Tensor all = gathered.view(group.size(), tokens, 2);
      logSums = save(all.select(2, 0).logsumexp(0));
      return new Tensor[] {logSums.sub(all.select(2, 1).sum(0))};
    }

    /** The gradient overwrites the logits, which are not needed any more. */
    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {part.gradient(logits, labels, logSums, gradients[0].contiguous()), null};
    }
  }
}
