package moe4j.transformer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.List;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Shard;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter.Piece;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

public class ParameterSetTest {
  private static ParameterSet set(long seed, ScalarType dtype) {
    return new ParameterSet(seed, dtype, new Device("cpu"));
  }

  private static float[] weight(ParameterSet set, String scope, String name, long... shape) {
    return Tensors.floats(set.root().child(scope).weight(name, 0.02, shape));
  }

  @Test
  public void weightsAreAFunctionOfSeedAndName() {
    try (ParameterSet one = set(1, ScalarType.Float);
        ParameterSet other = set(1, ScalarType.Float);
        ParameterSet another = set(2, ScalarType.Float)) {
      float[] a = weight(one, "a", "weight", 3, 5);
      float[] b = weight(one, "b", "weight", 3, 5);
      // Another order, and with something between.
      float[] b2 = weight(other, "b", "weight", 3, 5);
      other.root().weight("c", 1, 7);
      float[] a2 = weight(other, "a", "weight", 3, 5);
      assertEquals(a2, a);
      assertEquals(b2, b);
      assertNotEquals(a, b);
      assertNotEquals(weight(another, "a", "weight", 3, 5), a);
      assertEquals(
          Tensors.floats(one.root().weight("twice", 0.04, 15))[3],
          2 * Tensors.floats(other.root().weight("twice", 0.02, 15))[3]);
    }
  }

  /** Six standard errors. */
  @Test
  public void weightsAreNormal() {
    try (ParameterSet set = set(moe4j.testing.Seeds.seed(), ScalarType.Float)) {
      float[] values = Tensors.floats(set.root().weight("weight", 0.02, 500, 400));
      double mean = 0;
      double square = 0;
      int within = 0;
      for (float value : values) {
        mean += value / 0.02 / values.length;
        square += Math.pow(value / 0.02, 2) / values.length;
        within += Math.abs(value) < 0.02 ? 1 : 0;
      }
      double error = 6 / Math.sqrt(values.length);
      assertEquals(mean, 0, error);
      assertEquals(square, 1, error * Math.sqrt(2));
      assertEquals(within / (double) values.length, 0.6827, error * 0.47);
    }
  }

  /** An expert's weights do not depend on which experts a rank has beside it. */
  @Test
  public void expertsAreThemselvesWhereverTheyAre() {
    try (PointerScope scope = new PointerScope();
        ParameterSet two = set(1, ScalarType.Float);
        ParameterSet five = set(1, ScalarType.Float)) {
      Tensor few =
          two.root()
              .child("experts")
              .expertWeights("fc.weight", ExpertRange.all(2), 0.02, Shard.WHOLE, 3, 4);
      Tensor many =
          five.root()
              .child("experts")
              .expertWeights("fc.weight", ExpertRange.all(5), 0.02, Shard.WHOLE, 3, 4);
      assertEquals(few.shape(), new long[] {2, 3, 4});
      assertEquals(Tensors.floats(few), Tensors.floats(Tensors.slice(many, 0, 0, 2)));
      assertNotEquals(Tensors.floats(many.select(0, 0)), Tensors.floats(many.select(0, 1)));
      List<Piece> pieces = five.all().get(0).pieces();
      assertEquals(
          pieces.stream().map(Piece::name).toList().subList(3, 5),
          List.of("experts.local_experts.3.fc.weight", "experts.local_experts.4.fc.weight"));
      assertEquals(Tensors.floats(pieces.get(3).of(many)), Tensors.floats(many.select(0, 3)));
      try (ParameterSet plain = set(1, ScalarType.Float)) {
        assertEquals(
            weight(plain, "experts.local_experts.3", "fc.weight", 3, 4),
            Tensors.floats(many.select(0, 3)));
      }
      Tensor biases =
          two.root().child("experts").expertBiases("fc.bias", ExpertRange.all(2), Shard.WHOLE, 3);
      assertEquals(Tensors.floats(biases), new float[6]);
      assertFalse(two.all().get(1).decay());
    }
  }

  @Test
  public void normsAndBiasesAreConstantAndDoNotDecay() {
    try (ParameterSet set = set(1, ScalarType.Float)) {
      ParameterScope scope = set.root().child("layer");
      Tensor weight = scope.weight("weight", 1, 2, 2);
      assertEquals(Tensors.floats(scope.bias("bias", 2)), new float[2]);
      assertEquals(Tensors.floats(scope.gain("gain", 2)), new float[] {1, 1});
      assertEquals(set.all().stream().map(Parameter::decay).toList(), List.of(true, false, false));
      assertEquals(set.all().get(1).name(), "layer.bias");
      assertEquals(set.elements(), 8);
      assertTrue(weight.requires_grad());
      assertThrows(IllegalStateException.class, () -> scope.bias("weight", 2));
    }
  }

  @Test
  public void bf16IsRounded() {
    try (PointerScope scope = new PointerScope();
        ParameterSet set = set(1, ScalarType.BFloat16);
        ParameterSet exact = set(1, ScalarType.Float)) {
      Tensor weight = set.root().weight("weight", 0.02, 64);
      Tensor precise = exact.root().weight("weight", 0.02, 64);
      assertSame(Tensors.dtype(weight), ScalarType.BFloat16);
      assertTrue(weight.is_leaf() && weight.requires_grad());
      assertEquals(
          Tensors.floats(weight), Tensors.floats(precise.detach().to(ScalarType.BFloat16)));
    }
  }

  @Test
  public void theyOutliveScopesAndCloseLeavesNothing() {
    Scopes.run(() -> set(1, ScalarType.Float).root().weight("weight", 1, 2));
    long before = Scopes.livePointers();
    ParameterSet set = set(1, ScalarType.Float);
    Scopes.run(
        () -> {
          set.root().weight("weight", 1, 2, 2);
          set.root().child("experts").expertWeights("fc", ExpertRange.all(3), 1, Shard.WHOLE, 2, 2);
        });
    assertFalse(set.all().get(0).tensor().isNull());
    assertEquals(Tensors.floats(set.all().get(0).tensor()).length, 4);
    set.close();
    assertEquals(set.all().size(), 0);
    assertTrue(Scopes.livePointers() <= before + 1, "the device alone stays");
  }
}
