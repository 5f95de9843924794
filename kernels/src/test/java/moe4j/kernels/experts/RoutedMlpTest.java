package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Routed MLPs in fp64 against each group by itself, with libtorch's own gradients: gradients that
 * are written by hand are right to the last digits or wrong.
 */
public class RoutedMlpTest {
  private static final int H = 6;
  private static final int F = 5;
  private static final String[] NAMES = {"x", "weight", "fc1", "fc2", "bias1", "bias2"};
  private static final Scalar NAN = Scopes.keep(() -> new Scalar(Double.NaN));

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(RoutedMlpTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** How rows get their tokens. */
  private enum Kind {
    /** Each token has chosen k groups, of which some were dropped; what is left over is behind. */
    CHOICES,
    /** The same, each group filled up to a capacity with rows of no token. */
    PADDED,
    /** Each group has chosen tokens, some more than once and some never. */
    BY_GROUPS,
    /** The tokens are the rows, with garbage behind the last group. */
    ROWS
  }

  private static boolean isFaster(long rows, long groups, long h, long f) {
    Tensor one = Tensors.of(new float[] {0}, 1, 1, 1);
    Tensor fc1 = one.expand(groups, f, h);
    Tensor fc2 = one.expand(groups, h, f);
    return RoutedMlp.isFaster(rows, new ExpertMlp.Weights(fc1, null, fc2, null));
  }

  @Test
  public void largeGroupsAreLeftToLibtorch() {
    assertTrue(isFaster(2 * 32768, 96, 768, 1536));
    assertTrue(isFaster(2 * 32768, 8, 1024, 4096));
    assertTrue(isFaster(2 * 4096, 128, 4096, 14336));
    assertFalse(isFaster(2 * 16384, 8, 4096, 14336));
    assertFalse(isFaster(2 * 16384, 32, 4096, 14336));
    assertFalse(isFaster(2 * 16384, 16, 2048, 8192));
  }

  @DataProvider
  public Object[][] cases() {
    List<Object[]> cases = new ArrayList<>();
    for (Kind kind : Kind.values()) {
      for (RoutedCase.Act act : RoutedCase.Act.values()) {
        for (boolean biases : new boolean[] {false, true}) {
          for (double p : new double[] {0, 0.3}) {
            cases.add(new Object[] {kind, act, biases, p});
          }
        }
      }
    }
    return cases.toArray(Object[][]::new);
  }

  @Test(dataProvider = "cases")
  public void isEachGroupByItself(Kind kind, RoutedCase.Act act, boolean biases, double p) {
    boolean[] all = {true, true, true, true, true, true};
    for (boolean summed : new boolean[] {true, false}) {
      new Case(kind, act, biases, p, 23, 4).check(summed, all);
      new Case(kind, act, biases, p, 1, 1).check(summed, all);
      new Case(kind, act, biases, p, 3, 9).check(summed, all);
    }
  }

  /** What is not asked for is not there, and what is asked for is no other for that. */
  @Test
  public void gradientsOfSomeInputs() {
    for (int mask = 1; mask < 64; mask++) {
      boolean[] asked = new boolean[6];
      for (int i = 0; i < 6; i++) {
        asked[i] = (mask >> i & 1) == 1;
      }
      Kind kind = Kind.values()[mask % 4];
      new Case(kind, RoutedCase.Act.GELU, true, 0.2, 11, 3).check(mask % 3 != 0, asked);
    }
  }

  @Test
  public void noRowsAreSumsOfNothing() {
    Tensor none = Tensors.of(new long[0]);
    Tensor x = torch.ones(3, H).to(ScalarType.Double).set_requires_grad(true);
    Tensor fc1 = torch.ones(2, F, H).to(ScalarType.Double);
    Tensor fc2 = torch.ones(2, H, F).to(ScalarType.Double);
    ExpertMlp.Weights weights = new ExpertMlp.Weights(fc1, null, fc2, null);
    RoutedMlp.Routes routes =
        new RoutedMlp.Routes(
            none,
            Tensors.of(new long[] {-1, -1, -1}, 3, 1),
            Tensor.create(0, 0),
            torch.ones(0).to(ScalarType.Double));
    Tensor y = RoutedMlp.sums(x, routes, weights, RoutedCase.Act.RELU, Dropout.NONE);
    assertEquals(Tensors.shape(y), "[3, 6]");
    assertEquals(Tensors.item(y.abs().sum()), 0.0);
    y.mul(torch.ones(3, H)).sum().backward();
    assertEquals(Tensors.item(x.grad().abs().sum()), 0.0);
  }

  @Test
  public void sizesThatDoNotGoTogetherAreRefused() {
    Case given = new Case(Kind.CHOICES, RoutedCase.Act.GELU, false, 0, 5, 3);
    RoutedMlp.Routes routes = given.routes(given.inputs[1]);
    RoutedMlp.Routes more =
        new RoutedMlp.Routes(
            routes.token(), routes.slot(), Tensor.create(1, 2, 3, 4), routes.weight());
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () ->
                    RoutedMlp.sums(
                        given.inputs[0],
                        more,
                        given.weights(given.inputs),
                        given.act,
                        Dropout.NONE))
            .getMessage();
    assertTrue(
        message.matches(
            "The sizes of 3 groups' weights \\[3, 5, 6\\] and \\[3, 6, 5\\], of x \\[5, 6\\], 10"
                + " rows and 4 ends in Int do not go together."),
        message);
  }

  /** One application. */
  private final class Case {
    final RoutedCase.Act act;
    final boolean biases;
    final int tokens;

    /** The token of each row, or -1. */
    final long[] token;

    /** By token and choice, or null. */
    final long[] slot;

    final int[] ends;
    final boolean asRows;

    /** x, weight, fc1, fc2 and perhaps biases. */
    final Tensor[] inputs;

    final Dropout drop;

    Case(Kind kind, RoutedCase.Act act, boolean biases, double p, int tokens, int groups) {
      this.act = act;
      this.biases = biases;
      this.tokens = tokens;
      this.asRows = kind == Kind.ROWS;
      int k = 2;
      ends = new int[groups];
      if (kind == Kind.BY_GROUPS || kind == Kind.ROWS) {
        slot = null;
        token = new long[kind == Kind.ROWS ? tokens : groups * 4];
        for (int r = 0; r < token.length; r++) {
          token[r] = asRows ? r : random.nextInt(5) == 0 ? -1 : random.nextInt(tokens);
        }
        for (int g = 0; g < groups; g++) {
          int least = g == 0 ? 0 : ends[g - 1];
          ends[g] = asRows ? least + random.nextInt(tokens - least + 1) / 2 : 4 * (g + 1);
        }
      } else {
        int[] group = random.ints((long) tokens * k, -1, groups).toArray();
        int capacity = kind == Kind.PADDED ? tokens * k : 0;
        token = new long[capacity == 0 ? tokens * k : capacity * groups];
        slot = new long[tokens * k];
        Arrays.fill(token, -1);
        Arrays.fill(slot, -1);
        int row = 0;
        for (int g = 0; g < groups; g++) {
          for (int i = 0; i < group.length; i++) {
            if (group[i] == g) {
              token[row] = i / k;
              slot[i] = row++;
            }
          }
          row = capacity == 0 ? row : capacity * (g + 1);
          ends[g] = row;
        }
      }
      int inner = act.inputs() * F;
      inputs = new Tensor[biases ? 6 : 4];
      inputs[0] = normals(tokens, H);
      inputs[1] = normals(token.length);
      inputs[2] = normals(groups, inner, H);
      inputs[3] = normals(groups, H, F);
      if (biases) {
        inputs[4] = normals(groups, inner);
        inputs[5] = normals(groups, H);
      }
      // What lies behind the last group has no effect.
      int last = ends[groups - 1];
      inputs[1].narrow(0, last, token.length - last).fill_(NAN);
      if (asRows) {
        inputs[0].narrow(0, last, token.length - last).fill_(NAN);
      }
      drop =
          p == 0 ? Dropout.NONE : new Dropout(new StepRandom(random.nextLong(), 3, 0, 1), p, 4, 2);
    }

    ExpertMlp.Weights weights(Tensor[] leaves) {
      return new ExpertMlp.Weights(
          leaves[2], biases ? leaves[4] : null, leaves[3], biases ? leaves[5] : null);
    }

    RoutedMlp.Routes routes(Tensor weight) {
      return new RoutedMlp.Routes(
          asRows ? null : Tensors.of(token, token.length),
          slot == null ? null : Tensors.of(slot, tokens, slot.length / tokens),
          Tensor.create(ends),
          weight);
    }

    /** Each group's rows that have a token by themselves. */
    Tensor expected(Tensor[] leaves, boolean summed) {
      long rows = token.length;
      Tensor all = torch.zeros(new long[] {summed ? tokens : rows, H}, leaves[0].options());
      Tensor factors =
          drop.isNone()
              ? null
              : drop.factors(torch.zeros(new long[] {rows, F}, leaves[0].options()));
      for (int g = 0; g < ends.length; g++) {
        List<Long> own = new ArrayList<>();
        for (int r = g == 0 ? 0 : ends[g - 1]; r < ends[g]; r++) {
          if (token[r] >= 0) {
            own.add((long) r);
          }
        }
        Tensor row = Tensors.of(own.stream().mapToLong(r -> r).toArray());
        Tensor from = Tensors.of(own.stream().mapToLong(r -> token[r.intValue()]).toArray());
        Tensor first = leaves[0].index_select(0, from).mm(leaves[2].select(0, g).t());
        first = biases ? first.add(leaves[4].select(0, g)) : first;
        Tensor between = act.apply(first);
        between = factors == null ? between : between.mul(factors.index_select(0, row));
        Tensor second = between.mm(leaves[3].select(0, g).t());
        second = biases ? second.add(leaves[5].select(0, g)) : second;
        second = second.mul(leaves[1].index_select(0, row).unsqueeze(1));
        all = all.index_add(0, summed ? from : row, second);
      }
      return all;
    }

    void check(boolean summed, boolean[] asked) {
      Tensor[] exact = leaves(asked);
      Tensor[] leaves = leaves(asked);
      Tensor expected = expected(exact, summed);
      RoutedMlp.Routes routes = routes(leaves[1]);
      Tensor y =
          summed
              ? RoutedMlp.sums(leaves[0], routes, weights(leaves), act, drop)
              : RoutedMlp.rows(leaves[0], routes, weights(leaves), act, drop);
      Tensor upstream = normals(expected.shape());
      Tensor own = y;
      if (!summed || asRows) {
        // Nobody takes the rows of no token, nor those behind; their gradients are zeros and
        // garbage.
        Tensor taken = taken();
        own = torch.where(taken, y, torch.zeros_like(y));
        expected = torch.where(taken, expected, torch.zeros_like(expected));
      }
      near("result", own, expected);
      boolean any = false;
      for (int i = 0; i < leaves.length; i++) {
        any |= asked[i];
      }
      assertEquals(y.requires_grad(), any);
      if (!any) {
        return;
      }
      expected.mul(upstream).sum().backward();
      Tensor gradient = upstream.clone();
      if (!summed || asRows) {
        gradient = torch.where(taken(), gradient, torch.zeros_like(gradient));
        int last = ends[ends.length - 1];
        gradient.narrow(0, last, token.length - last).fill_(NAN);
      }
      torch.backward(
          new TensorVector(y),
          new TensorVector(gradient),
          new BoolOptional(),
          false,
          new TensorVector());
      for (int i = 0; i < leaves.length; i++) {
        assertEquals(leaves[i].grad().defined(), asked[i], NAMES[i]);
        if (asked[i]) {
          Tensor found = leaves[i].grad();
          Tensor wanted = exact[i].grad();
          if (i == 0 && asRows) {
            found = torch.where(taken(), found, torch.zeros_like(found));
          }
          near(
              NAMES[i] + "'s gradient", found, wanted.defined() ? wanted : torch.zeros_like(found));
        }
      }
    }

    /** Which rows have a token and are in a group: bool [R, 1]. */
    Tensor taken() {
      long[] flags = new long[token.length];
      for (int r = 0; r < ends[ends.length - 1]; r++) {
        flags[r] = token[r] >= 0 ? 1 : 0;
      }
      return Tensors.of(flags, flags.length, 1).to(ScalarType.Bool);
    }

    Tensor[] leaves(boolean[] asked) {
      Tensor[] leaves = new Tensor[inputs.length];
      for (int i = 0; i < leaves.length; i++) {
        leaves[i] = inputs[i].clone().set_requires_grad(asked[i]);
      }
      return leaves;
    }
  }

  private static void near(String what, Tensor actual, Tensor expected) {
    assertEquals(Tensors.shape(actual), Tensors.shape(expected), what);
    double scale = Math.max(1e-3, Tensors.item(expected.detach().norm()));
    double error = Tensors.item(actual.detach().sub(expected.detach()).norm());
    assertTrue(error <= 1e-12 * scale, what + " is off by " + error / scale);
  }

  private Tensor normals(long... shape) {
    int size = 1;
    for (long n : shape) {
      size *= (int) n;
    }
    return Tensors.of(Seeds.normals(random, size), shape).to(ScalarType.Double);
  }
}
