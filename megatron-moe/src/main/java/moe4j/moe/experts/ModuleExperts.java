package moe4j.moe.experts;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.moe.dispatch.Dispatched;
import moe4j.moe.gate.Routing;
import moe4j.parallel.ExpertRange;
import moe4j.tensor.Tensors;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Experts that are a user's own modules, alike or different, computed one after the other.
 *
 * <p>Each gets a tensor of its rows, so the host has to know how many they are: it does where every
 * expert is padded to the capacity, and asks the device otherwise, which no captured step can.
 * Without padding an expert without rows is not called, and its parameters get no gradient.
 */
public final class ModuleExperts implements Experts {
  private final List<Expert> experts;

  /** A layer's experts, in their order. */
  public ModuleExperts(List<Expert> experts) {
    this.experts = List.copyOf(experts);
  }

  /** So many experts that are made alike; their initial weights differ, being keyed by name. */
  public static ModuleExperts of(int count, Expert.Factory factory, ParameterScope parameters) {
    return of(ExpertRange.all(count), factory, parameters);
  }

  /** Those of them that a rank has; the factory is given the numbers they have among all. */
  public static ModuleExperts of(
      ExpertRange range, Expert.Factory factory, ParameterScope parameters) {
    List<Expert> experts = new ArrayList<>();
    for (int i = range.first(); i < range.first() + range.count(); i++) {
      experts.add(factory.create(i, parameters.child("local_experts." + i)));
    }
    return new ModuleExperts(experts);
  }

  @Override
  public Tensor forward(Dispatched dispatched, Pass pass) {
    List<Tensor> outputs = forwardAll(dispatched, pass);
    if (outputs.size() != 1) {
      throw new IllegalStateException(
          "the experts have %d outputs: call MoeLayer.forward with a list of inputs, which returns all of them"
              .formatted(outputs.size()));
    }
    return outputs.get(0);
  }

  @Override
  public List<Tensor> forwardAll(Dispatched dispatched, Pass pass) {
    List<Tensor> inputs = new ArrayList<>();
    for (int i = 0; i < dispatched.inputs().size(); i++) {
      inputs.add(dispatched.rows(i));
    }
    Tensor weight = dispatched.weight();
    long[] ends = ends(dispatched);
    List<List<Tensor>> parts = new ArrayList<>();
    long start = 0;
    for (int e = 0; e < ends.length; e++) {
      long size = ends[e] - start;
      long from = start;
      if (size > 0) {
        List<Tensor> rows = inputs.stream().map(x -> x.narrow(0, from, size)).toList();
        Tensor own = weight.narrow(0, from, size);
        add(parts, experts.get(e).forward(rows, pass).stream().map(y -> times(y, own)).toList());
      }
      start = ends[e];
    }
    if (parts.isEmpty()) {
      add(parts, none(inputs));
    }
    long behind = weight.size(0) - start;
    return parts.stream().map(part -> joined(part, behind)).toList();
  }

  /** Where each expert's rows end. */
  private long[] ends(Dispatched dispatched) {
    Routing routing = dispatched.routing();
    dispatched.checkExperts(experts.size());
    if (routing.capacity() > 0) {
      long[] ends = new long[experts.size()];
      for (int e = 0; e < ends.length; e++) {
        ends[e] = (e + 1) * routing.capacity();
      }
      return ends;
    }
    if (CudaGraph.isCapturing()) {
      throw new IllegalStateException(
          "experts that are modules of your own ask the GPU for the numbers of their rows, unless"
              + " they are padded (--moe-expert-capacity-factor and"
              + " --moe-pad-expert-input-to-capacity)");
    }
    return Tensors.longs(routing.offsets());
  }

  /**
   * The outputs where no expert has a row, [0, ...] each. Their shape and type are found by giving
   * the first expert a row of zeros. They depend on the inputs, so that autograd finds its way
   * back.
   */
  private List<Tensor> none(List<Tensor> inputs) {
    Tensor nothing = inputs.get(0).narrow(0, 0, 0).sum();
    List<Tensor> like;
    try (NoGradGuard guard = new NoGradGuard()) {
      like =
          experts.get(0).forward(inputs.stream().map(x -> zeros(x, 1)).toList(), Pass.evaluation());
    }
    return like.stream().map(y -> zeros(y, 0).add(nothing.to(Tensors.dtype(y)))).toList();
  }

  private static Tensor zeros(Tensor like, long rows) {
    long[] shape = like.shape();
    shape[0] = rows;
    return torch.zeros(shape, like.options());
  }

  private static void add(List<List<Tensor>> parts, List<Tensor> outputs) {
    if (parts.isEmpty()) {
      outputs.forEach(y -> parts.add(new ArrayList<>()));
    }
    if (outputs.size() != parts.size()) {
      throw new IllegalArgumentException(
          "all experts of a layer must have as many outputs: one has %d, another has %d"
              .formatted(outputs.size(), parts.size()));
    }
    for (int i = 0; i < outputs.size(); i++) {
      parts.get(i).add(outputs.get(i));
    }
  }

  private static Tensor times(Tensor y, Tensor weight) {
    long[] shape = y.shape();
    Arrays.fill(shape, 1, shape.length, 1);
    return y.mul(weight.to(Tensors.dtype(y)).view(shape));
  }

  /** One expert's rows behind the other's, zeros for rows that belong to no token. */
  private static Tensor joined(List<Tensor> part, long behind) {
    if (behind > 0) {
      part.add(zeros(part.get(0), behind));
    }
    return part.size() == 1 ? part.get(0) : torch.cat(Tensors.vector(part), 0);
  }
}
