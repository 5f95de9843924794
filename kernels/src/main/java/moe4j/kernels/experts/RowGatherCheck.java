package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Rows out to their routes and back, some routes dropped. */
public final class RowGatherCheck implements KernelCheck {
  @Override
  public String name() {
    return "rows";
  }

  @Override
  public void run(Comparison on) {
    for (ScalarType dtype : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      run(on, dtype, 1, 1, 1, 0);
      run(on, dtype, 100, 2, 64, 0);
      run(on, dtype, 101, 2, 768, 9);
      run(on, dtype, 63, 1, 33, 5);
      run(on, dtype, 57, 8, 1003, 0);
      run(on, dtype, 30, 6, 264, 11);
      run(on, dtype, 9, 40, 17, 30);
      any(on, dtype, 1, 1, 1);
      any(on, dtype, 50, 131, 264);
      any(on, dtype, 301, 40, 33);
    }
  }

  /** Tokens with any number of routes, some rows that belong to no token. */
  private static void any(Comparison on, ScalarType dtype, int tokens, int rows, int h) {
    Random random = new Random(on.seed() + rows);
    long[] token = new long[rows];
    float[] mask = new float[rows];
    for (int r = 0; r < rows; r++) {
      token[r] = random.nextInt(tokens + 1) - 1L;
      mask[r] = token[r] < 0 ? 0 : 1;
    }
    Tensor kept = Tensors.of(mask).to(ScalarType.Double).unsqueeze(1);
    Tensor tokenOrNone = Tensors.of(token);
    Tensor source = tokenOrNone.clamp_min(new Scalar(0));
    Tensor given = tokenOrNone.to(on.device(), ScalarType.Long);
    String what = "%s T=%d R=%d h=%d: ".formatted(dtype, tokens, rows, h);
    double bound = dtype == ScalarType.Float ? 1e-5 : 1e-2;
    Tensor few = on.normal(dtype, tokens, h);
    Tensor many = on.normal(dtype, rows, h);

    Tensor x = on.leaf(few, dtype);
    Tensor y = RowGather.spread(x, given, null);
    y.mul(many.to(on.device(), dtype)).sum().backward();
    Tensor exactX = few.detach().set_requires_grad(true);
    Tensor exactY = exactX.index_select(0, source).mul(kept);
    exactY.mul(many).sum().backward();
    on.same("spread of any " + what + "rows", y.to(ScalarType.Double), exactY);
    on.close("spread of any " + what + "gradient", x.grad(), exactX.grad(), bound);

    x = on.leaf(many, dtype);
    y = RowGather.gatherAny(x, given, tokens);
    y.mul(few.to(on.device(), dtype)).sum().backward();
    exactX = many.detach().set_requires_grad(true);
    Tensor zeros = torch.zeros(new long[] {tokens, h}, few.options());
    exactY = zeros.index_add(0, source, exactX.mul(kept));
    exactY.mul(few).sum().backward();
    on.close("gather of any " + what + "sums", y, exactY, bound);
    on.same("gather of any " + what + "gradient", x.grad().to(ScalarType.Double), exactX.grad());
  }

  private static void run(Comparison on, ScalarType dtype, int tokens, int k, int h, int dropped) {
    int routes = tokens * k;
    Random random = new Random(on.seed() + routes);
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < routes; i++) {
      order.add(i);
    }
    Collections.shuffle(order, random);
    long[] token = new long[routes];
    long[] slot = new long[routes];
    float[] mask = new float[routes];
    for (int r = 0; r < routes; r++) {
      boolean kept = r >= dropped;
      token[r] = kept ? order.get(r) / k : -1;
      slot[order.get(r)] = kept ? r : -1;
      mask[r] = kept ? 1 : 0;
    }
    Tensor kept = Tensors.of(mask).to(ScalarType.Double).unsqueeze(1);
    Tensor tokenOrNone = Tensors.of(token);
    Tensor source = tokenOrNone.clamp_min(new Scalar(0));
    Tensor givenToken = tokenOrNone.to(on.device(), ScalarType.Long);
    Tensor givenSlot = Tensors.of(slot, tokens, k).to(on.device(), ScalarType.Long);
    String what = "%s T=%d k=%d h=%d: ".formatted(dtype, tokens, k, h);
    double bound = dtype == ScalarType.Float ? 1e-5 : 1e-2;

    Tensor few = on.normal(dtype, tokens, h);
    Tensor many = on.normal(dtype, routes, h);

    Tensor x = on.leaf(few, dtype);
    Tensor y = RowGather.spread(x, givenToken, givenSlot);
    y.mul(many.to(on.device(), dtype)).sum().backward();
    Tensor exactX = few.detach().set_requires_grad(true);
    Tensor exactY = exactX.index_select(0, source).mul(kept);
    exactY.mul(many).sum().backward();
    on.same("spread " + what + "rows", y.to(ScalarType.Double), exactY);
    on.close("spread " + what + "gradient", x.grad(), exactX.grad(), bound);

    x = on.leaf(many, dtype);
    y = RowGather.gather(x, givenToken, givenSlot);
    y.mul(few.to(on.device(), dtype)).sum().backward();
    exactX = many.detach().set_requires_grad(true);
    Tensor zeros = torch.zeros(new long[] {tokens, h}, few.options());
    exactY = zeros.index_add(0, source, exactX.mul(kept));
    exactY.mul(few).sum().backward();
    on.close("gather " + what + "sums", y, exactY, bound);
    on.same("gather " + what + "gradient", x.grad().to(ScalarType.Double), exactX.grad());
  }
}
