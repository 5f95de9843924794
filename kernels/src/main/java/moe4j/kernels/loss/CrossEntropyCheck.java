package moe4j.kernels.loss;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The output layer with the loss, its gradients with another upstream gradient for each row. */
public final class CrossEntropyCheck implements KernelCheck {
  @Override
  public String name() {
    return "cross-entropy";
  }

  @Override
  public void run(Comparison on) {
    for (ScalarType dtype : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      run(on, dtype, 37, 24, 1, 1);
      run(on, dtype, 64, 64, 1000, 1);
      run(on, dtype, 33, 40, 1003, 1);
      run(on, dtype, 16, 64, 1000, 60);
      run(on, dtype, 5, 16, 50_304, 1);
      run(on, dtype, 3, 16, 50_257, 1);
      // A row that is not kept in shared memory whatever its type.
      run(on, dtype, 2, 8, 60_008, 1);
      parts(on, dtype, 33, 1000, 1, 2);
      parts(on, dtype, 17, 1004, 60, 4);
      parts(on, dtype, 3, 50_304, 1, 2);
      infinite(on, dtype);
      if (on.device().is_cuda()) {
        foreign(on, dtype);
      }
    }
  }

  /** Logits of -inf, a thread's first eight among them, take no part. */
  private static void infinite(Comparison on, ScalarType dtype) {
    Tensor hidden = on.normal(dtype, 4, 8).abs().add(new Scalar(1)).to(dtype);
    Tensor weight = on.normal(dtype, 1000, 8);
    Tensors.slice(weight, 0, 0, 16).fill_(new Scalar(Double.NEGATIVE_INFINITY));
    Tensor labels = Tensors.of(new long[] {16, 500, 20, 999});
    Tensor logits = hidden.to(ScalarType.Double).mm(Tensors.slice(weight, 0, 16, 1000).t());
    Tensor at = logits.gather(1, labels.sub(new Scalar(16)).unsqueeze(1)).squeeze(1);
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor loss =
          CrossEntropy.linear(
              on.leaf(hidden, dtype),
              on.leaf(weight, dtype),
              labels.to(on.device(), ScalarType.Long));
      on.close(
          "cross-entropy %s beside -inf: loss".formatted(dtype),
          loss,
          logits.logsumexp(1).sub(at),
          dtype == ScalarType.Float ? 1e-5 : 1e-2);
    }
  }

  /** A label outside the vocabulary, which a CPU refuses, shows in loss and gradients. */
  private static void foreign(Comparison on, ScalarType dtype) {
    for (int vocabulary : new int[] {1000, 1003}) {
      Tensor x = on.leaf(on.normal(dtype, 2, 16), dtype);
      Tensor w = on.leaf(on.normal(dtype, vocabulary, 16), dtype);
      Tensor labels = Tensors.of(new long[] {vocabulary, 3}).to(on.device(), ScalarType.Long);
      Tensor loss = CrossEntropy.linear(x, w, labels);
      loss.mul(new Scalar(1)).sum().backward();
      String what = "cross-entropy %s V=%d: a foreign label's ".formatted(dtype, vocabulary);
      on.holds(what + "loss is NaN", Double.isNaN(Tensors.item(loss.select(0, 0))));
      on.holds(what + "gradient is NaN", Double.isNaN(Tensors.item(x.grad().select(0, 0).sum())));
    }
  }

  /** Logits of about {@code spread}. */
  private static void run(
      Comparison on, ScalarType dtype, int rows, int h, int vocabulary, double spread) {
    Tensor hidden = on.normal(dtype, rows, h);
    Tensor weight =
        on.normal(dtype, vocabulary, h)
            .mul(new Scalar(spread / Math.sqrt(h)))
            .to(dtype)
            .to(ScalarType.Double);
    Tensor upstream = on.normal(ScalarType.Float, rows);
    Tensor labels = labels(on, rows, vocabulary);

    Tensor x = on.leaf(hidden, dtype);
    Tensor w = on.leaf(weight, dtype);
    Tensor given = labels.to(on.device(), ScalarType.Long);
    Tensor loss = CrossEntropy.linear(x, w, given);
    loss.mul(upstream.to(on.device(), ScalarType.Float)).sum().backward();

    Tensor exactX = hidden.detach().set_requires_grad(true);
    Tensor exactW = weight.detach().set_requires_grad(true);
    Tensor logits = exactX.mm(exactW.t());
    Tensor exact = logits.logsumexp(1).sub(logits.gather(1, labels.unsqueeze(1)).squeeze(1));
    exact.mul(upstream).sum().backward();

    String what = "cross-entropy %s V=%d x%.0f: ".formatted(dtype, vocabulary, spread);
    double bound = dtype == ScalarType.Float ? 1e-5 : 1e-2;
    on.close(what + "loss", loss, exact, bound);
    // Large bf16 logits are off by a quarter, which changes what is likely.
    double gradients = dtype == ScalarType.Float ? 1e-5 * spread : spread > 1 ? 0.15 : 1e-2;
    on.close(what + "hidden gradient", x.grad(), exactX.grad(), gradients);
    on.close(what + "weight gradient", w.grad(), exactW.grad(), gradients);
    try (NoGradGuard guard = new NoGradGuard()) {
      on.close(what + "evaluated", CrossEntropy.linear(x, w, given), exact, bound);
    }
  }

  /** Logits of about {@code spread}, of which each rank has some. */
  private static void parts(
      Comparison on, ScalarType dtype, int rows, int vocabulary, double spread, int ranks) {
    Tensor logits = on.normal(ScalarType.Double, rows, vocabulary).mul(new Scalar(spread));
    logits = logits.to(dtype).to(ScalarType.Double).set_requires_grad(true);
    Tensor upstream = on.normal(ScalarType.Float, rows);
    Tensor labels = labels(on, rows, vocabulary);
    Tensor exact = logits.logsumexp(1).sub(logits.gather(1, labels.unsqueeze(1)).squeeze(1));
    exact.mul(upstream).sum().backward();

    String what =
        "cross-entropy %s V=%d x%.0f of %d ranks: ".formatted(dtype, vocabulary, spread, ranks);
    Tensor given = labels.to(on.device(), ScalarType.Long);
    int each = vocabulary / ranks;
    Tensor[] own = new Tensor[ranks];
    Tensor[] sums = new Tensor[ranks];
    for (int r = 0; r < ranks; r++) {
      own[r] = logits.detach().narrow(1, (long) r * each, each).contiguous().to(on.device(), dtype);
      sums[r] = new CrossEntropyPart(r * each, vocabulary).sums(own[r], given);
    }
    Tensor all = torch.stack(new TensorVector(sums));
    Tensor logSums = all.select(2, 0).logsumexp(0);
    on.close(what + "loss", logSums.sub(all.select(2, 1).sum(0)), exact, 1e-5);
    Tensor up = upstream.to(on.device(), ScalarType.Float);
    for (int r = 0; r < ranks; r++) {
      on.close(
          what + "gradient of rank " + r,
          new CrossEntropyPart(r * each, vocabulary).gradient(own[r], given, logSums, up),
          logits.grad().narrow(1, (long) r * each, each),
          dtype == ScalarType.Float ? 1e-5 * spread : 1e-2);
    }
  }

  /** The vocabulary's both ends, and some of it between. */
  private static Tensor labels(Comparison on, int rows, int vocabulary) {
    long[] labels = new long[rows];
    for (int i = 2; i < rows; i++) {
      labels[i] = Math.floorMod(on.seed() + 7919L * i, vocabulary);
    }
    labels[0] = vocabulary - 1L;
    return Tensors.of(labels);
  }
}
