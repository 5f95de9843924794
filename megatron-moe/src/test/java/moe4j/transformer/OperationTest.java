package moe4j.transformer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.Test;

/** Which random numbers an operation draws: moe4j's always the same, one's own by their names. */
public class OperationTest {
  /** Every run and every checkpoint depends on them. */
  @Test
  public void ourNumbersStay() {
    List<Operation> ours =
        List.of(
            Operation.EMBEDDING,
            Operation.ATTENTION_WEIGHTS,
            Operation.ATTENTION_OUTPUT,
            Operation.FEED_FORWARD_OUTPUT,
            Operation.GATE,
            Operation.GATE_NOISE,
            Operation.SECOND_EXPERT,
            Operation.FORCED_BALANCE,
            Operation.FEED_FORWARD_HIDDEN,
            Operation.POSITIONS,
            Operation.OUTPUT);
    assertEquals(
        ours.stream().map(Operation::id).toList(), List.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  }

  @Test
  public void aNameGivesItsNumber() {
    Operation depth = Operation.named("com.example.stochastic depth");
    assertSame(Operation.named("com.example.stochastic depth"), depth);
    assertEquals(depth.toString(), "com.example.stochastic depth");
    // Pinned: a run that is resumed by a later version draws on as it began.
    assertEquals(depth.id(), 64745);
    // A name of ours is not our operation.
    assertTrue(Operation.named("embedding").id() >= 256);
    expectThrows(IllegalArgumentException.class, () -> Operation.named(" "));
  }

  @Test
  public void numbersAreThoseThatDrawsTake() {
    Map<Integer, String> taken = new HashMap<>();
    String meets = null;
    int tries = 0;
    while (meets == null) {
      String name = "moe4j.OperationTest." + tries++;
      try {
        int id = Operation.named(name).id();
        assertTrue(id >= 256 && id < 1 << 16, name + ": " + id);
        assertEquals(taken.put(id, name), null);
      } catch (IllegalArgumentException e) {
        meets = e.getMessage();
        assertTrue(
            meets.matches(
                "operation '%s' would draw the same random numbers as '.*': give one of them another name"
                    .formatted(name)),
            meets);
      }
    }
    // By chance two of 65280 meet after some 320; names that differ in a digit are spread as well.
    assertTrue(tries > 30, "'%s' after %d names".formatted(meets, tries));
  }

  @Test
  public void eachDrawsForItself() {
    try (PointerScope scope = new PointerScope()) {
      Pass pass = Pass.training(new StepRandom(Seeds.seed(), 3, 0, 2));
      Tensor ones = torch.ones(2, 500);
      List<Operation> all =
          List.of(
              Operation.GATE,
              Operation.OUTPUT,
              Operation.named("moe4j.OperationTest.a"),
              Operation.named("moe4j.OperationTest.b"));
      for (Operation one : all) {
        float[] dropped = Tensors.floats(pass.dropout(ones, 0.5, 1, one));
        assertEquals(Tensors.floats(pass.dropout(ones, 0.5, 1, one)), dropped);
        for (Operation other : all) {
          if (other != one) {
            assertFalse(
                Arrays.equals(Tensors.floats(pass.dropout(ones, 0.5, 1, other)), dropped),
                one + " and " + other);
          }
        }
      }
    }
  }

  /** An evaluation draws nothing, whatever the part. */
  @Test
  public void anEvaluationDrawsNothing() {
    Chance chance = Pass.evaluation().chance();
    assertFalse(chance.isOn());
    for (Chance each : List.of(chance, chance.common(), chance.piece(3))) {
      assertTrue(each.dropout(0.5, 1, Operation.GATE).isNone());
      assertEquals(
          expectThrows(IllegalStateException.class, each::random).getMessage(),
          "an evaluation pass draws no random numbers");
    }
  }
}
