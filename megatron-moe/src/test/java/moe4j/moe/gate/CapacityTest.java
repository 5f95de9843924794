package moe4j.moe.gate;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.moe.gate.Capacity.Policy;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What experts keep of the choices, against a sort in Java. */
public class CapacityTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(CapacityTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static long rows(double factor, long tokens, int topk, int experts) {
    return new Capacity(factor, Policy.PROBS, false).rows(tokens, topk, experts);
  }

  @Test
  public void rowsAreRoundedUpInMegatronsOrder() {
    // 180 x 1.1 / 6 would be 33.000000000000004, and 34 rows.
    assertEquals(rows(1.1, 180, 1, 6), 33);
    assertEquals(rows(1.1, 90, 2, 6), 33);
    assertEquals(rows(1, 90, 2, 7), 26);
    assertEquals(rows(0.01, 8, 2, 8), 1);
    assertEquals(rows(1, 1, 1, 512), 1);
    assertEquals(rows(100, 9, 2, 4), 9);
    for (int i = 0; i < 1000; i++) {
      int tokens = 1 + random.nextInt(5000);
      int experts = 1 + random.nextInt(512);
      int topk = 1 + random.nextInt(Math.min(experts, 16));
      double factor = 0.05 + 3 * random.nextDouble();
      double exact = Math.ceil((double) (tokens * topk) / experts * factor);
      assertEquals(rows(factor, tokens, topk, experts), (long) Math.min(tokens, exact));
    }
  }

  @Test
  public void noFactor() {
    for (double factor : new double[] {0, -1, Double.NaN}) {
      String sentence =
          expectThrows(
                  IllegalArgumentException.class, () -> new Capacity(factor, Policy.PROBS, false))
              .getMessage();
      assertEquals(sentence, "a capacity factor of " + factor + " is not positive");
    }
  }

  /** A choice of a token. */
  private record Choice(int token, int column, float weight) {}

  /** Each token's experts, all different; a share of them -1. */
  private long[] choices(int tokens, int k, int experts, boolean dropped) {
    long[] expert = new long[tokens * k];
    List<Integer> all = new ArrayList<>(IntStream.range(0, experts).boxed().toList());
    for (int t = 0; t < tokens; t++) {
      Collections.shuffle(all, random);
      for (int j = 0; j < k; j++) {
        // The first experts are wanted more than the others.
        int wanted = random.nextBoolean() ? all.get(j) : Collections.min(all.subList(j, experts));
        Collections.swap(all, j, all.indexOf(wanted));
        expert[t * k + j] = dropped && random.nextInt(4) == 0 ? -1 : wanted;
      }
    }
    return expert;
  }

  @DataProvider
  public Object[][] shapes() {
    return new Object[][] {
      // tokens, k, experts, rows
      {1, 1, 1, 1},
      {9, 2, 3, 4},
      {9, 2, 3, 9},
      {33, 4, 7, 5},
      {33, 4, 7, 33},
      {64, 3, 64, 1},
      {50, 8, 512, 2},
      {41, 5, 5, 17}
    };
  }

  @Test(dataProvider = "shapes")
  public void anExpertKeepsItsBestOrFirst(int tokens, int k, int experts, int rows) {
    for (boolean ties : new boolean[] {false, true}) {
      for (boolean dropped : new boolean[] {false, true}) {
        long[] expert = choices(tokens, k, experts, dropped);
        float[] weight = new float[tokens * k];
        for (int i = 0; i < weight.length; i++) {
          // With ties there are three weights, and of equal ones the lowest token's is kept.
          weight[i] = ties ? 1 + random.nextInt(3) : random.nextFloat();
        }
        for (Policy policy : Policy.values()) {
          for (boolean padded : new boolean[] {false, true}) {
            check(expert, weight, tokens, k, experts, rows, policy, padded);
          }
        }
      }
    }
  }

  /** Which choices are left, by expert and in the tokens' order. */
  private static List<List<Choice>> kept(
      long[] expert, float[] weight, int k, int experts, int rows, Policy policy) {
    List<List<Choice>> all = new ArrayList<>();
    for (int e = 0; e < experts; e++) {
      List<Choice> own = new ArrayList<>();
      for (int i = 0; i < expert.length; i++) {
        if (expert[i] == e) {
          own.add(new Choice(i / k, i % k, weight[i]));
        }
      }
      if (policy == Policy.PROBS) {
        own.sort(Comparator.comparingDouble((Choice c) -> -c.weight()));
      }
      own = new ArrayList<>(own.subList(0, Math.min(rows, own.size())));
      own.sort(Comparator.comparingInt(Choice::token));
      all.add(own);
    }
    return all;
  }

  private static void check(
      long[] expert,
      float[] weight,
      int tokens,
      int k,
      int experts,
      int rows,
      Policy policy,
      boolean padded) {
    Tensor weights = Tensors.of(weight, tokens, k).set_requires_grad(true);
    Routing routing =
        Capacity.route(Tensors.of(expert, tokens, k), weights, experts, rows, policy, padded);
    int size = padded ? experts * rows : tokens * k;
    long[] token = new long[size];
    long[] slot = new long[tokens * k];
    float[] ordered = new float[size];
    long[] offsets = new long[experts];
    long[] counts = new long[experts];
    Arrays.fill(token, -1);
    Arrays.fill(slot, -1);
    int at = 0;
    List<List<Choice>> kept = kept(expert, weight, k, experts, rows, policy);
    for (int e = 0; e < experts; e++) {
      at = padded ? e * rows : at;
      for (Choice choice : kept.get(e)) {
        slot[choice.token() * k + choice.column()] = at;
        ordered[at] = choice.weight();
        token[at++] = choice.token();
        counts[e]++;
      }
      offsets[e] = padded ? (e + 1L) * rows : at;
    }
    String what = policy + (padded ? " padded" : "");
    assertEquals(Tensors.longs(routing.token()), token, what);
    assertEquals(Tensors.longs(routing.slot()), slot, what);
    assertEquals(Tensors.longs(routing.offsets()), offsets, what);
    assertEquals(Tensors.longs(routing.tokensPerExpert()), counts, what);
    assertEquals(Tensors.floats(routing.weight()), ordered, what);
    assertEquals(routing.capacity(), padded ? rows : 0);
    assertEquals(routing.tokens(), tokens);
    assertEquals(routing.routed(), (long) tokens * k);
    routing.weight().sum().backward();
    float[] gradient = new float[slot.length];
    for (int i = 0; i < slot.length; i++) {
      gradient[i] = slot[i] < 0 ? 0 : 1;
    }
    assertEquals(Tensors.floats(weights.grad()), gradient, what);
  }

  /** Of weights that are all equal the lowest tokens' are kept. */
  @Test
  public void amongEqualsTheFirstTokensAreKept() {
    Tensor expert = torch.zeros(new long[] {7, 1}, Tensors.of(new long[] {0}).options());
    for (Policy policy : Policy.values()) {
      Routing routing = Capacity.route(expert, torch.ones(7, 1), 2, 3, policy, false);
      assertEquals(
          Tensors.longs(routing.token().narrow(0, 0, 3)), new long[] {0, 1, 2}, policy.name());
      assertTrue(
          Arrays.stream(Tensors.longs(routing.token().narrow(0, 3, 4))).allMatch(t -> t < 0));
    }
  }

  /** What a token mask leaves out is none's any more, and counted by nobody. */
  @Test
  public void routesOfSomeTokensMayBeLeftOut() {
    Tensor expert = Tensors.of(new long[] {0, 2, 1, 2, 2, 0}, 3, 2);
    Tensor weight = Tensors.of(new float[] {1, 2, 3, 4, 5, 6}, 3, 2);
    Tensor left = Tensors.of(new long[] {0, 1, 0}).to(ScalarType.Bool);
    Routing routing = Routing.ofChoices(expert, weight, 3).without(left);
    assertEquals(Tensors.longs(routing.token()), new long[] {0, 2, -1, 0, -1, 2});
    assertEquals(Tensors.floats(routing.weight()), new float[] {1, 6, 0, 2, 0, 5});
    assertEquals(Tensors.longs(routing.offsets()), new long[] {2, 3, 6});
    assertEquals(Tensors.longs(routing.slot()), new long[] {0, 3, -1, -1, 5, 1});
    assertEquals(Tensors.longs(routing.tokensPerExpert()), new long[] {2, 0, 2});
    Routing padded = Routing.padded(expert, weight, 3, 2).without(left);
    assertEquals(Tensors.longs(padded.token()), new long[] {0, 2, -1, -1, 0, -1});
    assertEquals(Tensors.longs(padded.tokensPerExpert()), new long[] {2, 0, 1});
    assertEquals(padded.capacity(), 2);
  }
}
