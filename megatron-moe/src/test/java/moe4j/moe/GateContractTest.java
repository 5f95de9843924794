package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.GateSpec.Balanced;
import moe4j.moe.gate.GateSpec.Draws;
import moe4j.moe.gate.GateSpec.Limit;
import moe4j.moe.gate.GateSpec.Weights;
import moe4j.moe.gate.Gates;
import moe4j.moe.gate.NaiveGate;
import moe4j.moe.gate.RealTokens;
import moe4j.moe.gate.Room;
import moe4j.moe.gate.Routing;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
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
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Every gate is what its {@link GateSpec} says: all in {@link Gates#all}, Megatron's router in
 * several ways, and users'. A gate that is added to the list is held to it without a line here.
 */
public class GateContractTest {
  private static final int H = 12;
  private static final int E = 8;
  private static final int T = 48;
  private static final String PAD = " --moe-pad-expert-input-to-capacity";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GateContractTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** A user's gate that says what it is: it keeps to a capacity, and knows two experts a token. */
  public static final class Telling implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      return create(shape, Room.UNASKED, parameters);
    }

    @Override
    public Gate create(Gate.Shape shape, Room room, ParameterScope parameters) {
      NaiveGate naive = new NaiveGate(shape, parameters);
      return room.capacity() == null
          ? naive
          : (hidden, pass) -> {
            Routing all = naive.route(hidden, pass);
            RealTokens real = RealTokens.of(hidden.size(0), pass);
            return room.capacity().route(all.choices(), all.choiceWeights(), shape.experts(), real);
          };
    }

    @Override
    public GateSpec spec() {
      return GateSpec.named("whatever")
          .described("A token goes to two experts, as far as these have room.")
          .onlyTopk(2)
          .weights(Weights.SUM_TO_ONE)
          .balanced(Balanced.BY_NOTHING)
          .limit(Limit.IF_ASKED)
          .draws(Draws.NOTHING)
          .parameters(GateSpec.Parameters.MATRIX_AND_BIAS);
    }
  }

  /** The command lines of all gates. */
  private static List<String> lines() {
    List<String> lines = new ArrayList<>();
    for (String name : Gates.names()) {
      lines.add("--balance-strategy " + name);
    }
    lines.add("--moe-aux-loss-coeff 0.1 --moe-z-loss-coeff 0.1");
    lines.add("--moe-router-pre-softmax");
    lines.add("--moe-input-jitter-eps 0.3");
    lines.add("--moe-router-force-load-balancing");
    lines.add(
        "--moe-router-score-function sigmoid --moe-router-enable-expert-bias"
            + " --moe-router-bias-update-rate 0.02");
    lines.add("--balance-strategy " + Telling.class.getName());
    lines.add("--balance-strategy " + UserGate.class.getName());
    return lines;
  }

  private static MoeConfig parse(String line) {
    return MoeConfig.parse(("--num-experts " + E + " " + line).strip().split(" +"));
  }

  private static MoeConfig parse(String line, int k) {
    return parse(line + " --top-k " + k);
  }

  private static GateSpec spec(String line) {
    String[] words = line.split(" ");
    return words[0].equals("--balance-strategy") ? Gates.spec(words[1]) : parse(line).gate();
  }

  /** Numbers of experts a token that the gate knows; two are enough for the router. */
  private static int[] knownTopk(GateSpec spec) {
    return spec.choice().only() == null ? new int[] {2, 3} : new int[] {spec.choice().only()};
  }

  @DataProvider
  public Object[][] gates() {
    return lines().stream().map(line -> new Object[] {line, spec(line)}).toArray(Object[][]::new);
  }

  /** A gate with drawn parameters. */
  private final class Made implements AutoCloseable {
    final ParameterSet parameters = Models.parameters(ScalarType.Float);
    final Gate gate;

    Made(MoeConfig moe) {
      LayerShape model = LayerShape.of(3, H, 4 * H, Activation.GELU, 0.5);
      gate = MoeLayer.gate(model, moe, 1, parameters.root());
      Models.randomise(parameters, random, 0.5);
    }

    Routing route(Tensor x, Pass pass) {
      return gate.route(x, pass);
    }

    /** Of a training pass of the first sample, without a graph. */
    Routing train(Tensor x, long step) {
      try (NoGradGuard guard = new NoGradGuard()) {
        return gate.route(x, TestLayer.training(step, 0, 1));
      }
    }

    Routing evaluate(Tensor x) {
      try (NoGradGuard guard = new NoGradGuard()) {
        return gate.route(x, Pass.evaluation());
      }
    }

    @Override
    public void close() {
      parameters.close();
    }
  }

  /** Tokens that are all near one another, so that they want the same experts. */
  private Tensor alike() {
    Tensor common = Models.normals(random, 1, H).mul(new Scalar(3));
    return Models.normals(random, T, H).mul(new Scalar(0.1)).add(common);
  }

  private static long load(Routing routing) {
    return LongStream.of(Tensors.longs(routing.tokensPerExpert())).sum();
  }

  private static long fullest(Routing routing) {
    return LongStream.of(Tensors.longs(routing.tokensPerExpert())).max().orElseThrow();
  }

  /** What the weights of each token's experts add up to. */
  private static double[] sums(Routing routing) {
    long[] tokens = Tensors.longs(routing.token());
    float[] weights = Tensors.floats(routing.weight());
    double[] sums = new double[Math.toIntExact(routing.tokens())];
    for (int r = 0; r < tokens.length; r++) {
      if (tokens[r] >= 0) {
        sums[(int) tokens[r]] += weights[r];
      }
    }
    return sums;
  }

  @Test(dataProvider = "gates")
  public void itKnowsTheNumbersOfExpertsThatItSays(String line, GateSpec spec) {
    Integer only = spec.choice().only();
    for (int k = 1; k <= 3; k++) {
      if (only != null && k != only) {
        String sentence = Refusals.of(MoeConfig.class, "--num-experts 8 --top-k " + k + " " + line);
        assertEquals(
            sentence,
            "--balance-strategy %s needs --top-k %d, not %d".formatted(spec.name(), only, k));
      } else if (k > 1 || !line.startsWith("--moe")) {
        assertEquals(parse(line, k).moeRouterTopk(), k);
      }
    }
    for (int k : knownTopk(spec)) {
      try (Made made = new Made(parse(line, k))) {
        Routing routing = made.train(Models.normals(random, T, H), 0);
        assertEquals(routing.tokens(), T);
        assertEquals(routing.experts(), E);
        if (spec.choice().byExperts()) {
          assertNull(routing.slot());
          continue;
        }
        assertEquals(routing.slot().shape(), new long[] {T, k});
        long[] chosen = Tensors.longs(routing.choices());
        for (int t = 0; t < T; t++) {
          long[] taken =
              Arrays.stream(chosen, t * k, t * k + k).filter(e -> e >= 0).sorted().toArray();
          assertTrue(Arrays.stream(taken).allMatch(e -> e < E), line);
          if (spec.limit() != Limit.SHARE) {
            assertEquals(Arrays.stream(taken).distinct().toArray(), taken, line);
          }
        }
      }
    }
  }

  @Test(dataProvider = "gates")
  public void itsWeightsAddUpAsItSays(String line, GateSpec spec) {
    for (int k : knownTopk(spec)) {
      // With room for all, and in evaluation, nothing is dropped.
      String room = spec.limit().takesFactor() ? " --moe-expert-capacity-factor 20" : "";
      try (Made made = new Made(parse(line + room, k))) {
        double[] sums = sums(made.evaluate(Models.normals(random, T, H)));
        double least = Arrays.stream(sums).min().orElseThrow();
        double most = Arrays.stream(sums).max().orElseThrow();
        Weights weights = spec.choice().weights();
        if (weights.sumToOne(k)) {
          assertEquals(least, 1, 1e-5, line);
          assertEquals(most, 1, 1e-5, line);
        } else if (weights == Weights.VARY && !spec.choice().byExperts()) {
          assertTrue(most - least > 1e-3, line + ": sums from " + least + " to " + most);
        }
      }
    }
  }

  @Test(dataProvider = "gates")
  public void itDropsAndPadsAsItSays(String line, GateSpec spec) {
    Limit limit = spec.limit();
    int k = knownTopk(spec)[0];
    String factor = " --moe-expert-capacity-factor 0.5";
    List<String> rooms = new ArrayList<>(List.of(""));
    if (limit.takesFactor()) {
      rooms.addAll(List.of(factor, factor + PAD));
    } else {
      String refusal =
          Refusals.of(MoeConfig.class, "--num-experts 8 " + line + " --top-k " + k + factor);
      assertEquals(
          refusal,
          "--moe-expert-capacity-factor has no effect on --balance-strategy " + spec.name());
    }
    if (limit.padsWithoutFactor()) {
      rooms.add(PAD);
    } else {
      assertEquals(
          Refusals.of(MoeConfig.class, "--num-experts 8 " + line + " --top-k " + k + PAD),
          "--moe-pad-expert-input-to-capacity needs --moe-expert-capacity-factor");
    }
    if (limit == Limit.UNKNOWN) {
      return;
    }
    for (String room : rooms) {
      MoeConfig moe = parse(line + room, k);
      boolean asked = room.contains(PAD);
      boolean drops = limit.drops(room.contains(factor));
      try (Made made = new Made(moe)) {
        Tensor x = alike();
        for (Routing routing : new Routing[] {made.train(x, 0), made.evaluate(x)}) {
          String what = line + room;
          assertEquals(routing.capacity() > 0, limit.pads(asked), what);
          assertEquals(moe.isPadded(), limit.pads(asked), what);
          assertEquals(moe.gate().limit(), limit, what);
          if (limit == Limit.FILLED) {
            long rows = (long) Math.ceil((double) T * k / E * moe.room().factorOrOne());
            assertEquals(fullest(routing), rows, what);
            assertEquals(load(routing), rows * E, what);
          } else if (spec.draws() != Draws.CHOICES || drops) {
            assertEquals(load(routing) < (long) T * k, drops, what);
          }
        }
        if (limit == Limit.SHARE) {
          assertTrue(fullest(made.train(x, 0)) <= (T * k + E - 1) / E, line);
        }
      }
    }
  }

  /** The numbers of a routing, one behind the other. */
  private static List<Float> numbers(Routing routing) {
    List<Float> numbers = new ArrayList<>();
    for (long token : Tensors.longs(routing.token())) {
      numbers.add((float) token);
    }
    for (float weight : Tensors.floats(routing.weight())) {
      numbers.add(weight);
    }
    for (long expert : Tensors.longs(routing.offsets())) {
      numbers.add((float) expert);
    }
    return numbers;
  }

  @Test(dataProvider = "gates")
  public void itDrawsAsItSays(String line, GateSpec spec) {
    for (int k : knownTopk(spec)) {
      try (Made made = new Made(parse(line, k))) {
        Tensor x = Models.normals(random, T, H);
        List<Float> first = numbers(made.train(x, 3));
        assertEquals(numbers(made.train(x, 3)), first, line);
        List<Float> evaluated = numbers(made.evaluate(x));
        assertEquals(numbers(made.evaluate(x)), evaluated, line);
        if (spec.draws() == Draws.NOTHING) {
          assertEquals(numbers(made.train(x, 4)), first, line);
        } else if (spec.draws() != Draws.UNKNOWN) {
          assertNotEquals(numbers(made.train(x, 4)), first, line);
          assertNotEquals(evaluated, first, line);
          try (NoGradGuard guard = new NoGradGuard()) {
            Routing other = made.route(x, TestLayer.training(3, 7, 1));
            assertNotEquals(numbers(other), first, line);
          }
        }
      }
    }
  }

  /** Experts of equal parameters, in training: the lowest is chosen, or any. */
  @Test(dataProvider = "gates")
  public void itPartsEqualsAsItSays(String line, GateSpec spec) {
    int k = knownTopk(spec)[0];
    if (spec.limit() == Limit.UNKNOWN || spec.choice().byExperts()) {
      return;
    }
    String room = spec.limit().takesFactor() ? " --moe-expert-capacity-factor 20" : "";
    try (Made made = new Made(parse(line + room, k))) {
      try (NoGradGuard guard = new NoGradGuard()) {
        // Each expert has the next one's parameters: 0 and 1, 2 and 3, and so on.
        for (Parameter p : made.parameters.all()) {
          Tensor pairs = p.tensor().view(E / 2, 2, -1);
          pairs.narrow(1, 1, 1).copy_(pairs.narrow(1, 0, 1).clone());
        }
      }
      long[] chosen = Tensors.longs(made.train(alike().mul(new Scalar(0.05)), 0).choices());
      boolean together = true;
      for (int t = 0; t < T; t++) {
        long first = chosen[t * k];
        together &= k == 1 ? first % 2 == 0 : chosen[t * k + 1] / 2 == first / 2;
      }
      assertEquals(together, !spec.partsEquals(), line + " " + Arrays.toString(chosen));
    }
  }

  @Test(dataProvider = "gates")
  public void itHasTheParametersThatItSays(String line, GateSpec spec) {
    for (int k : knownTopk(spec)) {
      try (Made made = new Made(parse(line, k))) {
        assertEquals(made.parameters.elements(), spec.parameters().count(H, E), line);
        assertEquals(
            parse(line, k).gate().parameters().count(7, 5), spec.parameters().count(7, 5), line);
      }
    }
  }

  @Test(dataProvider = "gates")
  public void itHasTheLossThatItSays(String line, GateSpec spec) {
    String weight = line + " --balance-loss-weight 0.25";
    int k = knownTopk(spec)[0];
    boolean named = line.startsWith("--balance-strategy");
    if (named && spec.isWithoutLoss()) {
      assertEquals(
          Refusals.of(MoeConfig.class, "--num-experts 8 --top-k " + k + " " + weight),
          "--balance-loss-weight has no effect on --balance-strategy %s, which has no loss"
              .formatted(spec.name()));
    }
    boolean takes = named && !spec.isWithoutLoss();
    try (Made made = new Made(parse(takes ? weight : line, k))) {
      Pass pass = TestLayer.training(1);
      made.route(Models.normals(random, T, H), pass);
      List<Pass.SideLoss> counting =
          pass.losses().stream().filter(loss -> loss.coefficient() > 0).toList();
      if (spec.isWithoutLoss()) {
        assertTrue(counting.isEmpty(), line);
      } else if (spec.balanced() == Balanced.BY_LOSS) {
        assertFalse(counting.isEmpty(), line);
        // The mean over the three layers that have experts.
        counting.forEach(l -> assertEquals(l.coefficient(), named ? 0.25 / 3 : 0.1, 1e-15, line));
      }
      counting.forEach(loss -> assertEquals(loss.layer(), 1, line));
      Pass evaluation = Pass.evaluation();
      made.route(Models.normals(random, T, H), evaluation);
      assertTrue(evaluation.losses().isEmpty(), line);
      assertTrue(evaluation.figures().isEmpty(), line);
    }
  }

  /** Where tokens want the same experts: at once or within some steps, or never. */
  @Test(dataProvider = "gates")
  public void itBalancesAsItSays(String line, GateSpec spec) {
    int k = knownTopk(spec)[0];
    MoeConfig moe = parse(line, k);
    assertEquals(
        moe.warnings().stream().anyMatch(w -> w.contains("nothing that balances")),
        spec.balanced() == Balanced.BY_NOTHING,
        line);
    if (spec.balanced() == Balanced.UNKNOWN || spec.balanced() == Balanced.BY_LOSS) {
      return;
    }
    try (Made made = new Made(moe)) {
      Tensor towards = Models.normals(random, H);
      long[] load = new long[E];
      for (int step = 0; step < 60; step++) {
        Tensor x = Models.normals(random, T, H).mul(new Scalar(0.5)).add(towards);
        long[] tokens = Tensors.longs(made.train(x, step).tokensPerExpert());
        for (int e = 0; e < E && step >= 50; e++) {
          load[e] += tokens[e];
        }
        try (NoGradGuard guard = new NoGradGuard()) {
          made.parameters.endStep(Tensors.zeros(ScalarType.Float, new Device("cpu")));
        }
      }
      double worst = Arrays.stream(load).max().orElseThrow() / (10.0 * T * k / E);
      boolean even = spec.balanced() == Balanced.BY_ITSELF;
      assertTrue(even ? worst < 1.6 : worst > 1.9, line + ": the fullest has " + worst);
    }
  }

  /** What of a gate's routes is of padding. */
  @Test(dataProvider = "gates")
  public void itRoutesNoPadding(String line, GateSpec spec) {
    if (spec.limit() == Limit.UNKNOWN) {
      // A gate of one's own need not know: its routes are taken away behind it.
      return;
    }
    for (int k : knownTopk(spec)) {
      try (Made made = new Made(parse(line, k))) {
        Tensor x = Models.normals(random, T, H);
        long[] nobodys = random.ints(T, 0, 2).asLongStream().toArray();
        Tensor mask = Tensors.of(nobodys).to(ScalarType.Bool);
        for (Pass pass : new Pass[] {TestLayer.training(1), Pass.evaluation()}) {
          Routing routing = made.route(x, pass.padded(mask));
          long[] tokens = Tensors.longs(routing.token());
          assertTrue(Arrays.stream(tokens).allMatch(t -> t < 0 || nobodys[(int) t] == 0), line);
          assertEquals(load(routing), Arrays.stream(tokens).filter(t -> t >= 0).count(), line);
          assertTrue(load(routing) > 0, line);
        }
      }
    }
  }

  /** From what a token's experts count, and from the loss. */
  @Test(dataProvider = "gates")
  public void gradientsReachAllItsParameters(String line, GateSpec spec) {
    for (int k : knownTopk(spec)) {
      try (Made made = new Made(parse(line, k))) {
        Tensor x = Models.normals(random, T, H).set_requires_grad(true);
        Pass pass = TestLayer.training(1);
        Routing routing = made.route(x, pass);
        Tensor upstream = Models.normals(random, routing.weight().numel());
        pass.total(routing.weight().mul(upstream).sum()).backward();
        for (Parameter p : made.parameters.all()) {
          Tensor gradient = p.tensor().grad();
          assertTrue(gradient.defined(), line + ": " + p.name());
          double size = Tensors.item(gradient.abs().sum());
          assertTrue(size > 0 && Double.isFinite(size), line + ": " + p.name());
        }
        assertTrue(Tensors.item(x.grad().abs().sum()) > 0, line);
      }
    }
  }

  /** A name is one gate's, and what help says of each is one sentence. */
  @Test
  public void eachHasANameAndASentence() throws IOException {
    assertEquals(Gates.names().stream().distinct().count(), Gates.all().size());
    String help = Flags.of(MoeConfig.class).help().replaceAll("\\s+", " ");
    String docs = Files.readString(Path.of(System.getProperty("moe4j.root"), "docs", "moe.md"));
    for (GateSpec spec : Gates.all()) {
      assertTrue(spec.name().matches("[a-z_]+"), spec.name());
      assertTrue(spec.description().matches("[A-Z].*\\."), spec.description());
      assertTrue(help.contains(spec.name() + ": " + spec.description()), help);
      String row = "| `%s` | %s |".formatted(spec.name(), spec.description());
      assertTrue(docs.contains(row), "docs/moe.md has no row " + row);
      assertNotEquals(spec.choice().weights(), Weights.UNKNOWN, spec.name());
      assertNotEquals(spec.balanced(), Balanced.UNKNOWN, spec.name());
      assertNotEquals(spec.limit(), Limit.UNKNOWN, spec.name());
      assertNotEquals(spec.draws(), Draws.UNKNOWN, spec.name());
    }
  }
}
