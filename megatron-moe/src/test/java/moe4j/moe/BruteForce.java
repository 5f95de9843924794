package moe4j.moe;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Function;
import moe4j.tensor.Tensors;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * An MoE layer once more, in fp64: a loop over tokens and, for each, over the experts it goes to.
 * Its gate is a subclass's, written from the documents and not from the code.
 */
public abstract class BruteForce {

  /** A token on its way to an expert, its weight a scalar with its gradient. */
  public record Route(int token, int expert, Tensor weight) {}

  final TestLayer layer;
  final Tensor x;
  public final int tokens;
  public final int experts;
  public final int topk;
  final Map<String, Tensor> leaves = new LinkedHashMap<>();

  /** What {@link #route} is to leave: the routes, the losses by name, the routes asked for. */
  public final List<Route> routes = new ArrayList<>();

  final Map<String, Tensor> losses = new LinkedHashMap<>();
  public long asked;

  /** Whether no comparison was so narrow that rounding could have turned it. */
  private boolean clear = true;

  public BruteForce(TestLayer layer, Tensor hidden) {
    this.layer = layer;
    this.x = exact(hidden.flatten(0, -2));
    this.tokens = Math.toIntExact(x.size(0));
    this.experts = layer.moe.numExperts();
    this.topk = layer.moe.moeRouterTopk();
    this.asked = (long) tokens * topk;
    for (Parameter parameter : layer.parameters.all()) {
      leaves.put(parameter.name(), exact(parameter.tensor()));
    }
  }

  private static Tensor exact(Tensor t) {
    return t.detach().to(ScalarType.Double).set_requires_grad(true);
  }

  /** Decides and weighs: the gate. */
  abstract void route();

  Tensor leaf(String name) {
    return leaves.get(name);
  }

  /** What the router sees of a token. */
  Tensor seen(int token) {
    return x.select(0, token);
  }

  /** A token's logits, [E]. */
  Tensor logits(int token) {
    Tensor logits = leaf(TestLayer.ROUTER).mv(seen(token));
    return layer.has(TestLayer.ROUTER_BIAS) ? logits.add(leaf(TestLayer.ROUTER_BIAS)) : logits;
  }

  static Tensor softmax(Tensor logits) {
    Tensor powers = logits.exp();
    return powers.div(powers.sum());
  }

  /** The elements of some indices. */
  static Tensor[] at(Tensor vector, int... indices) {
    return Arrays.stream(indices).mapToObj(i -> vector.select(0, i)).toArray(Tensor[]::new);
  }

  static Tensor sum(Tensor... scalars) {
    Tensor sum = scalars[0];
    for (int i = 1; i < scalars.length; i++) {
      sum = sum.add(scalars[i]);
    }
    return sum;
  }

  /** A softmax over scalars. */
  static Tensor[] softmax(Tensor... scalars) {
    Tensor weights = softmax(torch.stack(new TensorVector(scalars)));
    return at(weights, java.util.stream.IntStream.range(0, scalars.length).toArray());
  }

  static Tensor times(Tensor t, double factor) {
    return t.mul(new Scalar(factor));
  }

  /** The k largest of numbers, the largest first, of equals the first, which have to be apart. */
  int[] largest(double[] values, int k, double apart) {
    Integer[] order = new Integer[values.length];
    Arrays.setAll(order, i -> i);
    Arrays.sort(order, (a, b) -> Double.compare(values[b], values[a]));
    for (int i = 0; i < Math.min(k, values.length - 1); i++) {
      compare(values[order[i]], values[order[i + 1]], apart);
    }
    return Arrays.stream(order).limit(k).mapToInt(i -> i).toArray();
  }

  /** The same of a token's logits. */
  int[] largest(Tensor logits, int k) {
    return largest(values(logits), k, 3e-6);
  }

  /** Notes a comparison: of fp32 numbers, with so much of an error beside their own rounding. */
  void compare(double a, double b, double apart) {
    double scale = Math.max(Math.abs(a), Math.abs(b));
    if (!Double.isInfinite(scale) && Math.abs(a - b) <= apart + 1e-5 * scale) {
      clear = false;
    }
  }

  static double[] values(Tensor t) {
    float[] floats = Tensors.floats(t);
    return moe4j.testing.Close.doubles(floats);
  }

  static double value(Tensor scalar) {
    return Tensors.item(scalar);
  }

  /** How often each expert is named. */
  static double[] counts(int[][] chosen, int experts) {
    double[] counts = new double[experts];
    for (int[] ofToken : chosen) {
      for (int e : ofToken) {
        if (e >= 0) {
          counts[e]++;
        }
      }
    }
    return counts;
  }

  /** {@code E / (k T^2) sum_e counts[e] sum_t P[t, e]} over some tokens. */
  static Tensor switchLoss(Tensor[] probabilities, double[] counts, int k) {
    double count = probabilities.length;
    Tensor total = torch.zeros(new long[0], probabilities[0].options());
    for (Tensor ofToken : probabilities) {
      for (int e = 0; e < counts.length; e++) {
        if (counts[e] > 0) {
          total = total.add(times(ofToken.select(0, e), counts[e]));
        }
      }
    }
    return times(total, counts.length / (k * count * count));
  }

  private Tensor expert(int e, Tensor token) {
    return mlp(
        token,
        leaf(TestLayer.FC1).select(0, e),
        layer.has(TestLayer.BIAS1) ? leaf(TestLayer.BIAS1).select(0, e) : null,
        leaf(TestLayer.FC2).select(0, e),
        layer.has(TestLayer.BIAS2) ? leaf(TestLayer.BIAS2).select(0, e) : null);
  }

  private Tensor mlp(Tensor token, Tensor fc1, Tensor bias1, Tensor fc2, Tensor bias2) {
    Tensor inner = bias1 == null ? fc1.mv(token) : fc1.mv(token).add(bias1);
    Tensor outer = fc2.mv(activated(inner));
    return bias2 == null ? outer : outer.add(bias2);
  }

  private Tensor activated(Tensor inner) {
    if (layer.model.swiglu()) {
      long f = inner.size(0) / 2;
      Tensor gate = inner.narrow(0, 0, f);
      return gate.mul(gate.sigmoid()).mul(inner.narrow(0, f, f));
    }
    if (layer.model.relu() || layer.model.squaredRelu()) {
      Tensor positive = inner.mul(inner.gt(new Scalar(0)).to(ScalarType.Double));
      return layer.model.relu() ? positive : positive.mul(positive);
    }
    Tensor half = times(inner, 0.5);
    return half.add(half.mul(times(inner, 1 / Math.sqrt(2)).erf()));
  }

  private Tensor shared(Tensor token) {
    String name = TestLayer.SHARED;
    Tensor output =
        mlp(
            token,
            leaf(name + "linear_fc1.weight"),
            leaf(name + "linear_fc1.bias"),
            leaf(name + "linear_fc2.weight"),
            leaf(name + "linear_fc2.bias"));
    return layer.moe.moeSharedExpertGate()
        ? output.mul(leaf(name + "gate_weight").mv(token).sigmoid())
        : output;
  }

  /** All tokens' outputs, [T, h]. */
  private Tensor output() {
    TensorVector outputs = new TensorVector();
    boolean shared = layer.moe.moeSharedExpertIntermediateSize() != null;
    for (int t = 0; t < tokens; t++) {
      Tensor token = x.select(0, t);
      Tensor output = shared ? shared(token) : times(token, 0);
      for (Route route : routes) {
        if (route.token() == t) {
          output = output.add(expert(route.expert(), token).mul(route.weight()));
        }
      }
      outputs.push_back(output);
    }
    return torch.stack(outputs);
  }

  /** Routes so many tokens, whose choices are clear, both ways, and compares. */
  static void check(
      TestLayer layer,
      Random random,
      Tolerance tolerance,
      Pass pass,
      Function<Tensor, BruteForce> loop,
      long... shape) {
    ScalarType dtype = layer.parameters.dtype();
    for (int draw = 0; draw < 200; draw++) {
      Tensor x = Models.normals(random, shape).to(dtype).set_requires_grad(true);
      BruteForce expected = loop.apply(x);
      expected.route();
      if (expected.clear) {
        Tensor upstream = Models.normals(random, shape).to(dtype);
        expected.compareWith(x, upstream, tolerance, pass);
        return;
      }
    }
    throw new AssertionError("no clear choices in 200 draws");
  }

  /**
   * The errors that are allowed, relative to a tensor's norm.
   *
   * @param gate of the gates' gradients, whose few elements are sums that cancel
   * @param floor what a norm counts at least
   */
  public record Tolerance(double output, double gradient, double gate, double floor) {
    static final Tolerance FP32 = new Tolerance(1e-4, 1e-4, 1e-4, 1e-2);

    /** bf16 numbers have 8 bits: each step rounds by 2^-9 at most. */
    static final Tolerance BF16 = new Tolerance(1e-2, 1e-2, 3e-2, 1e-1);

    double of(String parameter) {
      return parameter.contains("router") || parameter.endsWith("gate_weight") ? gate : gradient;
    }

    void near(String what, Tensor actual, Tensor expected, double relative) {
      assertEquals(actual.shape(), expected.shape(), what);
      assertClose(what, Tensors.floats(actual), Tensors.floats(expected), relative, floor);
    }
  }

  private void compareWith(Tensor hidden, Tensor upstream, Tolerance tolerance, Pass pass) {
    Tensor y = layer.layer.forward(hidden, pass);
    Tensor total = y.mul(upstream).sum().to(ScalarType.Float);
    Map<String, Double> coefficients = new LinkedHashMap<>();
    for (Pass.SideLoss loss : pass.losses()) {
      tolerance.near(loss.name(), loss.value(), losses.get(loss.name()), tolerance.output());
      assertEquals(loss.layer(), TestLayer.NUMBER);
      coefficients.put(loss.name(), loss.coefficient());
      total = total.add(loss.value().mul(new Scalar(loss.coefficient())));
    }
    assertEquals(coefficients.keySet(), losses.keySet());
    total.backward();

    Tensor exact = output();
    Tensor exactTotal =
        exact.mul(upstream.flatten(0, -2).to(ScalarType.Double)).sum().add(times(x.sum(), 0));
    for (Map.Entry<String, Tensor> loss : losses.entrySet()) {
      exactTotal = exactTotal.add(times(loss.getValue(), coefficients.get(loss.getKey())));
    }
    exactTotal.backward();

    assertEquals(y.shape(), hidden.shape());
    tolerance.near("output", y.flatten(0, -2), exact, tolerance.output());
    tolerance.near(
        "input's gradient", hidden.grad().flatten(0, -2), x.grad(), tolerance.gradient());
    leaves.forEach((name, leaf) -> compareGradients(name, leaf, tolerance));
    compareLoads(pass);
  }

  private void compareGradients(String name, Tensor leaf, Tolerance tolerance) {
    Tensor actual = layer.parameter(name).grad();
    if (!leaf.grad().defined()) {
      assertFalse(actual.defined() && actual.count_nonzero().item_long() > 0, name);
      return;
    }
    tolerance.near("gradient of " + name, actual, leaf.grad(), tolerance.of(name));
  }

  /** Loads, and experts without a token, whose gradients are zeros and not nearly so. */
  private void compareLoads(Pass pass) {
    long[] load = new long[experts];
    routes.forEach(route -> load[route.expert()]++);
    assertEquals(pass.loads().size(), 1);
    assertEquals(Tensors.longs(pass.loads().get(0).tokens()), load);
    assertEquals(pass.loads().get(0).routed(), asked);
    assertEquals(pass.loads().get(0).layer(), TestLayer.NUMBER);
    for (String name : leaves.keySet()) {
      for (int e = 0; name.startsWith("mlp.experts.") && e < experts; e++) {
        if (load[e] == 0) {
          float[] idle = Tensors.floats(layer.parameter(name).grad().select(0, e));
          assertEquals(idle, new float[idle.length], name + " of expert " + e);
        }
      }
    }
  }
}
