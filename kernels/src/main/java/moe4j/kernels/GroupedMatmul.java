package moe4j.kernels;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Consecutive groups of rows, each times a matrix of its own. On a GPU, and in bf16, it is {@code
 * aten::_grouped_mm}, which reads on the device where a group ends, so that the host need not know;
 * in fp32 on a CPU it is one product of oneDNN's a group (see {@link OneDnn}).
 */
public final class GroupedMatmul {
  private static final BoxedOp GROUPED_MM = BoxedOp.find("aten::_grouped_mm", "");

  /** Where {@code aten::_grouped_mm} lets a row begin, in bytes. */
  private static final long ALIGNMENT = 16;

  private GroupedMatmul() {}

  /** What both dimensions of such matrices have to be multiples of. */
  public static long multiple(Tensor weight) {
    return OneDnn.takes(weight, weight) ? 1 : ALIGNMENT / weight.element_size();
  }

  /**
   * {@code y[r] = x[r] w[g]^T} for the group g that row r is in.
   *
   * @param x [R, in], its groups one behind the other
   * @param weight [G, out, in], as linear layers have it; both in {@link #multiple multiples}
   * @param offsets int32 [G], where each group ends; the last is R
   * @return [R, out]; on a GPU its gradient has to be dense, not an expanded scalar
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor offsets) {
    if (OneDnn.takes(x, weight)) {
      return new OneDnnGroups().apply(x, weight, offsets)[0];
    }
    return GROUPED_MM.call(x, weight.transpose(1, 2), offsets, null, null);
  }

  private static final class OneDnnGroups extends CustomFunction {
    private Tensor x;
    private Tensor weight;
    private long[] ends;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      ends = Tensors.longs(inputs[2]);
      return new Tensor[] {products(inputs[0], inputs[1])};
    }

    /** Each group's rows times its matrix, transposed. */
    private Tensor products(Tensor rows, Tensor matrices) {
      List<Tensor> parts = new ArrayList<>();
      for (int g = 0; g < ends.length; g++) {
        long size = size(g);
        if (size > 0) {
          parts.add(OneDnn.linear(rows.narrow(0, start(g), size), matrices.select(0, g), null));
        }
      }
      return parts.size() == 1 ? parts.get(0) : torch.cat(Tensors.vector(parts));
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor g = gradients[0];
      return new Tensor[] {
        needsGradient(0) ? products(g, weight.transpose(1, 2)) : null,
        needsGradient(1) ? weightGradient(g) : null,
        null
      };
    }

    private Tensor weightGradient(Tensor gradient) {
      Tensor all = torch.empty_like(weight);
      for (int g = 0; g < ends.length; g++) {
        long size = size(g);
        Tensor one = all.select(0, g);
        if (size == 0) {
          one.zero_();
        } else {
          one.copy_(
              OneDnn.transposedProduct(
                  gradient.narrow(0, start(g), size), x.narrow(0, start(g), size)));
        }
      }
      return all;
    }

    private long start(int group) {
      return group == 0 ? 0 : ends[group - 1];
    }

    private long size(int group) {
      return ends[group] - start(group);
    }
  }
}
