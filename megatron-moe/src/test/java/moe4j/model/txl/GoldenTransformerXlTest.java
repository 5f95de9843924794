package moe4j.model.txl;

import static org.testng.Assert.assertTrue;

import java.io.IOException;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.Batch;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Losses, memories and every gradient of three consecutive segments against those of upstream's own
 * code, which computed in fp64: 2e-5 relative in the Frobenius norm, with a floor for what is all
 * but zero.
 */
public class GoldenTransformerXlTest {
  private static final double TOLERANCE = 2e-5;
  private static final double FLOOR = 1e-6;

  private final Device cpu = new Device("cpu");

  @DataProvider
  public Object[][] cases() {
    return new Object[][] {
      {"base"}, {"memory"}, {"prenorm"}, {"adaptive"}, {"adaptive-embed"}, {"ext"}, {"moe"}
    };
  }

  @Test(dataProvider = "cases")
  public void asUpstream(String name) throws IOException {
    try (PointerScope scope = new PointerScope();
        Golden golden = Golden.open(name);
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, cpu)) {
      int rows = golden.metadata("batch_size");
      TransformerXl model = golden.model(rows, parameters);
      long tgt = golden.integer("tgt_len");
      long at = 0;
      for (int segment = 0; segment < 3; segment++) {
        Tensor expected = golden.tensor("output." + segment + ".loss").t();
        long targets = expected.size(1);
        Batch batch =
            batch(
                golden.tensor("input." + segment + ".data").t(),
                golden.tensor("input." + segment + ".target").t(),
                model.lengths(),
                at);
        for (Parameter parameter : parameters.all()) {
          parameter.tensor().mutable_grad().reset();
        }
        Tensor losses = model.loss(batch, Pass.training(new StepRandom(1, segment, 0, rows)));
        Tensor own = losses.narrow(1, model.lengths().extended(), targets);
        assertClose(own, expected, "loss of segment " + segment);
        own.mean().backward();
        memories(golden, model, segment, at + targets);
        for (Parameter parameter : parameters.all()) {
          String what = "gradient of " + parameter.name() + " in segment " + segment;
          assertClose(
              parameter.tensor().grad(),
              golden.of(parameter.name(), "grad." + segment + "."),
              what);
        }
        at += tgt;
      }
    }
  }

  /** Upstream's grow from nothing; ours are whole, what is there at their end. */
  private static void memories(Golden golden, TransformerXl model, int segment, long seen)
      throws IOException {
    for (int layer = 0; layer < model.memories().size(); layer++) {
      Tensor expected = golden.tensor("output." + segment + ".mems." + layer).transpose(0, 1);
      long length = expected.size(1);
      Tensor memory = model.memories().get(layer);
      // A short last segment stands before padding, and so does what is remembered of it.
      long padding =
          (model.lengths().target() - seen % model.lengths().target()) % model.lengths().target();
      Tensor own =
          memory.narrow(
              1,
              memory.size(1) - padding - Math.min(length, memory.size(1) - padding),
              Math.min(length, memory.size(1) - padding));
      Tensor last = expected.narrow(1, length - own.size(1), own.size(1));
      assertClose(own, last, "memory of layer " + layer + " behind segment " + segment);
    }
  }

  /** A segment as the data have it: of full length, what is missing in front or behind padded. */
  private Batch batch(Tensor data, Tensor target, TransformerXlConfig.Lengths lengths, long at) {
    long rows = data.size(0);
    long front = data.size(1) - target.size(1);
    Tensor tokens = Tensors.zeros(ScalarType.Long, cpu, rows, lengths.queries());
    Tensor labels = Tensors.zeros(ScalarType.Long, cpu, rows, lengths.queries());
    Tensor mask = Tensors.zeros(ScalarType.Float, cpu, rows, lengths.queries());
    tokens.narrow(1, lengths.extended() - front, data.size(1)).copy_(data);
    labels.narrow(1, lengths.extended(), target.size(1)).copy_(target);
    mask.narrow(1, lengths.extended(), target.size(1)).fill_(new Scalar(1.0));
    Tensor positions =
        torch
            .arange(new Scalar((long) lengths.queries()), tokens.options())
            .add(new Scalar(at - lengths.extended()))
            .expand(rows, lengths.queries())
            .contiguous();
    return new Batch(tokens, labels, mask, positions, null);
  }

  private static void assertClose(Tensor actual, Tensor expected, String what) {
    double norm = Tensors.item(expected.to(ScalarType.Double).norm());
    double difference =
        Tensors.item(actual.to(ScalarType.Double).sub(expected.to(ScalarType.Double)).norm());
    assertTrue(
        difference <= TOLERANCE * norm + FLOOR,
        "%s: off by %.3g of %.3g".formatted(what, difference, norm));
  }
}
