package moe4j.moe;

import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.LateGroups;
import moe4j.parallel.Layout;
import moe4j.parallel.ThreadRanks;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A layer on several ranks against the same layer on one, which computes the ranks' micro-batches
 * one after the other: outputs, losses, loads, all gradients, buffers behind the step.
 */
final class RankedLayer {
  static final int ROWS = 2;
  static final int SEQUENCE = 8;
  private static final double TOLERANCE = 1e-5;
  private static final double FLOOR = 1e-6;
  private static final long SEED = 5;

  /** What a layer computes of a hidden state: [B, S, h], several of them perhaps. */
  interface Layer extends BiFunction<List<Tensor>, Pass, List<Tensor>> {}

  private final Function<ParameterScope, Layer> factory;
  private final Consumer<ParameterSet> prepare;
  private final List<List<Tensor>> inputs;
  private final List<List<Tensor>> upstreams;

  /** What the layer on one rank came to. */
  private static final class Whole {
    final Map<String, float[]> initial = new HashMap<>();
    final Map<String, float[]> values = new HashMap<>();
    final Map<String, float[]> gradients = new HashMap<>();
    final Map<String, float[]> buffers = new HashMap<>();
    final List<List<float[]>> outputs = new ArrayList<>();
    final List<List<float[]>> inputGradients = new ArrayList<>();
    final List<List<float[]>> evaluated = new ArrayList<>();
    final List<List<Pass.SideLoss>> losses = new ArrayList<>();
    final List<long[]> loads = new ArrayList<>();
    final List<Long> routed = new ArrayList<>();
  }

  /**
   * @param factory makes the layer
   * @param prepare what is done to the whole layer's parameters; the ranks' become parts of those
   * @param inputs of each micro-batch, [B, S, x] each
   * @param upstreams the outputs' gradients, [B, S, x] each
   */
  private RankedLayer(
      Function<ParameterScope, Layer> factory,
      Consumer<ParameterSet> prepare,
      List<List<Tensor>> inputs,
      List<List<Tensor>> upstreams) {
    this.factory = factory;
    this.prepare = prepare;
    this.inputs = inputs;
    this.upstreams = upstreams;
  }

  /**
   * A layer whose parameters and inputs are drawn. What logits are made of has few bits, so that
   * they are the same numbers in whatever order they are summed up, and routes the same routes.
   *
   * @param data micro-batches
   * @param in channels of each input
   * @param out channels of each output
   */
  static RankedLayer of(
      Function<ParameterScope, Layer> factory, Random random, int data, long[] in, long[] out) {
    List<List<Tensor>> inputs = new ArrayList<>();
    List<List<Tensor>> upstreams = new ArrayList<>();
    for (int d = 0; d < data; d++) {
      inputs.add(
          Arrays.stream(in)
              .mapToObj(h -> coarse(Models.normals(random, ROWS, SEQUENCE, h)))
              .toList());
      upstreams.add(
          Arrays.stream(out).mapToObj(h -> Models.normals(random, ROWS, SEQUENCE, h)).toList());
    }
    return new RankedLayer(factory, p -> draw(p, random), inputs, upstreams);
  }

  private static void draw(ParameterSet parameters, Random random) {
    Models.randomise(parameters, random, 0.5);
    try (NoGradGuard guard = new NoGradGuard()) {
      for (Parameter parameter : parameters.all()) {
        if (parameter.name().contains(".router.")) {
          parameter.tensor().copy_(coarse(parameter.tensor()));
        }
      }
    }
  }

  /** In sixteenths. */
  private static Tensor coarse(Tensor t) {
    return t.mul(new Scalar(16)).round().mul(new Scalar(1 / 16.0));
  }

  /** The same with something else done to the parameters once they are drawn. */
  RankedLayer with(Consumer<ParameterSet> after) {
    return new RankedLayer(factory, prepare.andThen(after), inputs, upstreams);
  }

  /** The same with other inputs. */
  RankedLayer ofInputs(UnaryOperator<Tensor> input) {
    List<List<Tensor>> others = inputs.stream().map(x -> x.stream().map(input).toList()).toList();
    return new RankedLayer(factory, prepare, others, upstreams);
  }

  private static ParameterSet parameters(Groups groups) {
    return new ParameterSet(SEED, ScalarType.Float, new Device("cpu"), groups);
  }

  private static Pass training(int microBatch) {
    return Pass.training(new StepRandom(Seeds.seed(), 3, (long) microBatch * ROWS, ROWS));
  }

  private Whole whole() {
    Whole whole = new Whole();
    try (PointerScope scope = new PointerScope();
        ParameterSet parameters = parameters(Groups.single())) {
      Layer layer = factory.apply(parameters.root().child("mlp"));
      pieces(parameters, p -> p.tensor().detach(), whole.initial);
      prepare.accept(parameters);
      pieces(parameters, p -> p.tensor().detach(), whole.values);
      for (int d = 0; d < inputs.size(); d++) {
        List<Tensor> x = leaves(inputs.get(d));
        Pass pass = training(d);
        List<Tensor> y = layer.apply(x, pass);
        pass.total(sum(y, upstreams.get(d))).backward();
        CustomFunction.settle();
        whole.outputs.add(floats(y));
        whole.inputGradients.add(floats(x.stream().map(Tensor::grad).toList()));
        whole.losses.add(pass.losses().stream().map(RankedLayer::held).toList());
        whole.loads.add(Tensors.longs(pass.loads().get(0).tokens()));
        whole.routed.add(pass.loads().get(0).routed());
      }
      pieces(parameters, RankedLayer::gradient, whole.gradients);
      for (int d = 0; d < inputs.size(); d++) {
        try (NoGradGuard guard = new NoGradGuard()) {
          whole.evaluated.add(floats(layer.apply(inputs.get(d), Pass.evaluation())));
        }
      }
      parameters.endStep(Tensors.zeros(ScalarType.Float, new Device("cpu")));
      parameters.buffers().forEach(b -> whole.buffers.put(b.name(), Tensors.floats(b.tensor())));
    }
    return whole;
  }

  private static Pass.SideLoss held(Pass.SideLoss loss) {
    loss.value().retainReference();
    return loss;
  }

  /** A parameter that nothing has been asked of has a gradient of zeros. */
  private static Tensor gradient(Parameter parameter) {
    Tensor gradient = parameter.tensor().grad();
    return gradient.defined() ? gradient.clone() : torch.zeros_like(parameter.tensor().detach());
  }

  private static List<Tensor> leaves(List<Tensor> tensors) {
    return tensors.stream().map(x -> x.clone().detach().set_requires_grad(true)).toList();
  }

  private static Tensor sum(List<Tensor> y, List<Tensor> upstream) {
    Tensor sum = y.get(0).mul(upstream.get(0)).sum();
    for (int j = 1; j < y.size(); j++) {
      sum = sum.add(y.get(j).mul(upstream.get(j)).sum());
    }
    return sum;
  }

  private static List<float[]> floats(List<Tensor> tensors) {
    return tensors.stream().map(Tensors::floats).toList();
  }

  private static void pieces(
      ParameterSet parameters, Function<Parameter, Tensor> what, Map<String, float[]> into) {
    for (Parameter parameter : parameters.all()) {
      Tensor tensor = what.apply(parameter);
      for (Parameter.Piece piece : parameter.pieces()) {
        into.put(piece.name(), Tensors.floats(piece.of(tensor)));
      }
    }
  }

  /** Compares all ranks of a layout. */
  void compare(Layout layout, boolean sequence, boolean late) {
    assertEquals(inputs.size(), layout.data());
    Whole whole = whole();
    Set<String> seen = new ConcurrentSkipListSet<>();
    ThreadRanks.run(
        layout,
        sequence,
        groups -> {
          try (ParameterSet parameters = parameters(late ? LateGroups.of(groups) : groups)) {
            compare(whole, parameters, groups, seen);
          }
        });
    assertEquals(new TreeSet<>(seen), new TreeSet<>(whole.values.keySet()));
  }

  private void compare(Whole whole, ParameterSet parameters, Groups groups, Set<String> seen) {
    int d = groups.data().rank();
    Group slices = groups.tokenSlices();
    Layer layer = factory.apply(parameters.root().child("mlp"));
    for (Parameter parameter : parameters.all()) {
      for (Parameter.Piece piece : parameter.pieces()) {
        seen.add(piece.name());
        Tensor own = piece.of(parameter.tensor().detach());
        assertEquals(Tensors.floats(own), cut(whole.initial.get(piece.name()), piece), "initial");
        try (NoGradGuard guard = new NoGradGuard()) {
          own.copy_(Tensors.of(cut(whole.values.get(piece.name()), piece), own.shape()));
        }
      }
    }
    List<Tensor> x = leaves(inputs.get(d).stream().map(t -> slice(t, slices)).toList());
    List<Tensor> u = upstreams.get(d).stream().map(t -> slice(t, slices)).toList();
    Pass pass = training(d);
    List<Tensor> y = layer.apply(x, pass);
    pass.total(sum(y, u)).backward();
    CustomFunction.settle();
    assertEquals(y.size(), u.size());
    for (int j = 0; j < y.size(); j++) {
      float[] expected = slice(whole.outputs.get(d).get(j), u.get(j), slices);
      assertClose("output " + j, y.get(j), expected);
    }
    for (int k = 0; k < x.size(); k++) {
      Tensor gradient = x.get(k).grad();
      float[] expected = slice(whole.inputGradients.get(d).get(k), gradient, slices);
      assertClose("gradient of input " + k, gradient, expected);
    }
    compareLeft(whole, d, pass);
    compareGradients(whole, parameters, groups);
    try (NoGradGuard guard = new NoGradGuard()) {
      List<Tensor> evaluated =
          layer.apply(x.stream().map(Tensor::detach).toList(), Pass.evaluation());
      for (int j = 0; j < y.size(); j++) {
        float[] expected = slice(whole.evaluated.get(d).get(j), u.get(j), slices);
        assertClose("evaluated output " + j, evaluated.get(j), expected);
      }
    }
    parameters.endStep(Tensors.zeros(ScalarType.Float, new Device("cpu")));
    for (Parameter.Buffer buffer : parameters.buffers()) {
      assertEquals(
          Tensors.floats(buffer.tensor()), whole.buffers.get(buffer.name()), buffer.name());
    }
  }

  private static void compareLeft(Whole whole, int d, Pass pass) {
    assertEquals(Tensors.longs(pass.loads().get(0).tokens()), whole.loads.get(d), "load");
    assertEquals(pass.loads().get(0).routed(), (long) whole.routed.get(d));
    List<Pass.SideLoss> expected = whole.losses.get(d);
    assertEquals(pass.losses().size(), expected.size());
    for (int i = 0; i < expected.size(); i++) {
      Pass.SideLoss loss = pass.losses().get(i);
      assertEquals(loss.name(), expected.get(i).name());
      assertEquals(loss.coefficient(), expected.get(i).coefficient());
      double value = Tensors.item(expected.get(i).value());
      assertEquals(Tensors.item(loss.value()), value, 1e-5 * Math.abs(value), loss.name());
    }
  }

  private static void compareGradients(Whole whole, ParameterSet parameters, Groups groups) {
    for (Parameter parameter : parameters.all()) {
      Tensor gradient = gradient(parameter);
      if (parameter.partial()) {
        groups.tensor().allReduce(gradient, Group.Reduction.SUM).await();
      }
      Group copies = parameter.isOfExperts() ? groups.expertData() : groups.data();
      copies.allReduce(gradient, Group.Reduction.SUM).await();
      for (Parameter.Piece piece : parameter.pieces()) {
        float[] expected = cut(whole.gradients.get(piece.name()), piece);
        assertClose("gradient of " + piece.name(), piece.of(gradient), expected);
      }
    }
  }

  private static void assertClose(String what, Tensor actual, float[] expected) {
    Close.assertClose(what, Tensors.floats(actual), expected, TOLERANCE, FLOOR);
  }

  /** A rank's part of [B, S, ...], shaped [B, S/n, ...]: its tokens one behind the other. */
  private static Tensor slice(Tensor whole, Group slices) {
    long[] shape = whole.shape();
    shape[1] /= slices.size();
    long tokens = shape[0] * shape[1];
    Tensor own = whole.flatten(0, 1).narrow(0, slices.rank() * tokens, tokens);
    return own.reshape(shape).contiguous();
  }

  private static float[] slice(float[] whole, Tensor own, Group slices) {
    long[] shape = own.shape();
    shape[1] *= slices.size();
    return Tensors.floats(slice(Tensors.of(whole, shape), slices));
  }

  /** A box of a row-major tensor of at most two dimensions. */
  private static float[] cut(float[] whole, Parameter.Piece piece) {
    boolean matrix = piece.shape().size() == 2;
    int columns = matrix ? piece.globalShape().get(1).intValue() : 1;
    int wide = matrix ? piece.shape().get(1).intValue() : 1;
    int left = matrix ? piece.offset().get(1).intValue() : 0;
    int top = piece.offset().get(0).intValue();
    float[] box = new float[(int) piece.volume()];
    for (int i = 0; i < box.length; i++) {
      box[i] = whole[(top + i / wide) * columns + left + i % wide];
    }
    return box;
  }
}
