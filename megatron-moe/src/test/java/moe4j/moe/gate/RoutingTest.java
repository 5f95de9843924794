package moe4j.moe.gate;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class RoutingTest {
  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      {1, 1, 1}, {1, 3, 8}, {7, 1, 1}, {9, 2, 3}, {64, 2, 8}, {33, 4, 16}, {300, 8, 64}
    };
  }

  /** Grouped by expert, and within an expert in the tokens' order. */
  @Test(dataProvider = "shapes")
  public void routesAreGrouped(int tokens, int k, int experts) {
    Random random = Seeds.random(RoutingTest.class);
    long[] expert = new long[tokens * k];
    List<Integer> all = new ArrayList<>();
    for (int e = 0; e < experts; e++) {
      all.add(e);
    }
    for (int t = 0; t < tokens; t++) {
      Collections.shuffle(all, random);
      for (int j = 0; j < k; j++) {
        expert[t * k + j] = all.get(j);
      }
    }
    float[] weight = Seeds.normals(random, tokens * k);
    try (PointerScope scope = new PointerScope()) {
      Tensor weights = Tensors.of(weight, tokens, k).set_requires_grad(true);
      Routing routing = Routing.ofChoices(Tensors.of(expert, tokens, k), weights, experts);
      assertSame(Tensors.dtype(routing.token()), ScalarType.Long);
      assertSame(Tensors.dtype(routing.slot()), ScalarType.Long);
      assertSame(Tensors.dtype(routing.offsets()), ScalarType.Int);
      assertEquals(routing.slot().shape(), new long[] {tokens, k});

      List<Long> token = new ArrayList<>();
      long[] slot = new long[tokens * k];
      long[] offsets = new long[experts];
      long[] counts = new long[experts];
      for (int e = 0; e < experts; e++) {
        for (int i = 0; i < expert.length; i++) {
          if (expert[i] == e) {
            slot[i] = token.size();
            token.add((long) (i / k));
            counts[e]++;
          }
        }
        offsets[e] = token.size();
      }
      assertEquals(Tensors.longs(routing.token()), token.stream().mapToLong(t -> t).toArray());
      assertEquals(Tensors.longs(routing.slot()), slot);
      assertEquals(Tensors.longs(routing.offsets()), offsets);
      assertEquals(Tensors.longs(routing.tokensPerExpert()), counts);
      float[] ordered = Tensors.floats(routing.weight());
      for (int i = 0; i < weight.length; i++) {
        assertEquals(ordered[(int) slot[i]], weight[i]);
      }
      float[] upstream = Seeds.normals(random, tokens * k);
      routing.weight().mul(Tensors.of(upstream)).sum().backward();
      float[] gradient = Tensors.floats(weights.grad());
      for (int i = 0; i < weight.length; i++) {
        assertEquals(gradient[i], upstream[(int) slot[i]]);
      }
    }
  }
}
