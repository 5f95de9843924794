package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.function.UnaryOperator;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Type;
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
    for (Type type : Type.values()) {
      run(on, type, 1, 1, 1, 0);
      run(on, type, 100, 2, 64, 0);
      run(on, type, 101, 2, 768, 9);
      run(on, type, 63, 1, 33, 5);
      run(on, type, 57, 8, 1003, 0);
      run(on, type, 30, 6, 264, 11);
      run(on, type, 9, 40, 17, 30);
      any(on, type, 1, 1, 1);
      any(on, type, 50, 131, 264);
      any(on, type, 301, 40, 33);
    }
  }

  /** Tokens with any number of routes, some rows that belong to no token. */
  private static void any(Comparison on, Type type, int tokens, int rows, int h) {
    Random random = new Random(on.seed() + rows);
    long[] token = random.ints(rows, -1, tokens).asLongStream().toArray();
    Tensor given = Tensors.of(token).to(on.device(), ScalarType.Long);
    compare(
        on,
        type,
        "of any %s T=%d R=%d h=%d: ".formatted(type, tokens, rows, h),
        token,
        new long[] {tokens, h},
        x -> RowGather.spread(x, given, null),
        x -> RowGather.gatherAny(x, given, tokens));
  }

  /** Tokens with k routes each, the first rows of all belonging to no token. */
  private static void run(Comparison on, Type type, int tokens, int k, int h, int dropped) {
    int routes = tokens * k;
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < routes; i++) {
      order.add(i);
    }
    Collections.shuffle(order, new Random(on.seed() + routes));
    long[] token = new long[routes];
    long[] slot = new long[routes];
    for (int r = 0; r < routes; r++) {
      boolean kept = r >= dropped;
      token[r] = kept ? order.get(r) / k : -1;
      slot[order.get(r)] = kept ? r : -1;
    }
    Tensor givenToken = Tensors.of(token).to(on.device(), ScalarType.Long);
    Tensor givenSlot = Tensors.of(slot, tokens, k).to(on.device(), ScalarType.Long);
    compare(
        on,
        type,
        "%s T=%d k=%d h=%d: ".formatted(type, tokens, k, h),
        token,
        new long[] {tokens, h},
        x -> RowGather.spread(x, givenToken, givenSlot),
        x -> RowGather.gather(x, givenToken, givenSlot));
  }

  /**
   * Compares both directions and their gradients with the definition in fp64.
   *
   * @param token the token of each row, -1 for a row that belongs to no token
   * @param shape of the tokens, [T, h]
   */
  private static void compare(
      Comparison on,
      Type type,
      String what,
      long[] token,
      long[] shape,
      UnaryOperator<Tensor> spread,
      UnaryOperator<Tensor> gather) {
    Tensor tokens = Tensors.of(token, token.length);
    Tensor source = tokens.clamp_min(new Scalar(0));
    Tensor kept = tokens.ge(new Scalar(0)).to(ScalarType.Double).unsqueeze(1);
    ScalarType dtype = type.dtype();
    Tensor few = on.normal(dtype, shape);
    Tensor many = on.normal(dtype, token.length, shape[1]);

    Tensor x = on.leaf(few, dtype);
    Tensor y = spread.apply(x);
    y.mul(many.to(on.device(), dtype)).sum().backward();
    Tensor exactX = few.detach().set_requires_grad(true);
    Tensor exactY = exactX.index_select(0, source).mul(kept);
    exactY.mul(many).sum().backward();
    on.same("spread " + what + "rows", y.to(ScalarType.Double), exactY);
    on.close("spread " + what + "gradient", x.grad(), exactX.grad(), type.bound());

    x = on.leaf(many, dtype);
    y = gather.apply(x);
    y.mul(few.to(on.device(), dtype)).sum().backward();
    exactX = many.detach().set_requires_grad(true);
    Tensor zeros = torch.zeros(shape, few.options());
    exactY = zeros.index_add(0, source, exactX.mul(kept));
    exactY.mul(few).sum().backward();
    on.close("gather " + what + "sums", y, exactY, type.bound());
    on.same("gather " + what + "gradient", x.grad().to(ScalarType.Double), exactX.grad());
  }
}
