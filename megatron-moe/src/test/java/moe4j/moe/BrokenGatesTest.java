package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.Random;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.NaiveGate;
import moe4j.testing.Seeds;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Gates of a user's own that do not keep to the contract: each is told in a sentence. */
public class BrokenGatesTest {

  /** It says nothing of itself. */
  public static final class Untold implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      return new NaiveGate(shape, parameters);
    }

    @Override
    public GateSpec spec() {
      return null;
    }
  }

  /** Its class cannot be initialised. */
  public static final class Uninitialised implements Gate.Factory {
    private static final int NUMBER = Integer.parseInt("none");

    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      throw new IllegalStateException("never made " + NUMBER);
    }
  }

  /** No token goes to an expert. */
  public static final class OfNone implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      return new NaiveGate(shape, parameters);
    }

    @Override
    public GateSpec spec() {
      return GateSpec.named("none").onlyTopk(0);
    }
  }

  /** It makes none. */
  public static final class Unmade implements Gate.Factory {
    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      return null;
    }
  }

  @DataProvider
  public Object[][] gates() {
    return new Object[][] {
      {Untold.class, ": the class's spec() gives null"},
      {Unmade.class, ": the class's create(...) gives null"},
      {
        Uninitialised.class,
        ": the class has no public constructor without arguments, or that fails"
      },
    };
  }

  @Test(dataProvider = "gates")
  public void isRefusedInASentence(Class<?> gate, String sentence) {
    String name = gate.getName();
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> layer(name)).getMessage(),
        "--balance-strategy " + name + sentence);
  }

  @Test
  public void noTokenGoesToNoExpert() {
    String said =
        expectThrows(IllegalArgumentException.class, () -> layer(OfNone.class.getName()))
            .getMessage();
    assertEquals(said, "a gate of 0 experts a token routes none");
  }

  private static void layer(String gate) {
    MoeConfig moe = MoeConfig.parse("--num-experts", "4", "--balance-strategy", gate);
    try (ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("cpu"))) {
      MoeLayer.create(LayerShape.of(1, 8, 16, Activation.GELU, 0.1), moe, 0, parameters.root());
    }
  }

  /** Fewer or more experts than the layer has: some would be idle, or none's memory be read. */
  @Test
  public void ofAnotherNumberOfExperts() {
    Random random = Seeds.random(BrokenGatesTest.class);
    for (int experts : new int[] {3, 5}) {
      Gate.Factory gate =
          (shape, scope) -> new NaiveGate(Gate.Shape.of(shape.hiddenSize(), experts, 2), scope);
      try (PointerScope scope = new PointerScope();
          ParameterSet parameters = new ParameterSet(1, ScalarType.Float, new Device("cpu"))) {
        MoeLayer layer = MoeLayer.builder(8, 4).gate(gate).build(parameters.root());
        assertEquals(
            expectThrows(
                    IllegalArgumentException.class,
                    () -> layer.forward(Models.normals(random, 6, 8), TestLayer.training(1)))
                .getMessage(),
            "the gate routes to %d experts, but the layer has 4".formatted(experts));
      }
    }
  }
}
