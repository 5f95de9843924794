package moe4j.kernels.experts;

import java.util.Arrays;
import java.util.Random;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Random routed MLPs for checks: the same numbers in fp64 on the CPU and in a type on a device. */
final class RoutedCase {
  /** An activation of each form, in tensor operations. */
  enum Act implements ExpertMlp.Activation {
    GELU(ExpertMlp.Form.GELU, 1) {
      @Override
      public Tensor apply(Tensor x) {
        return torch.gelu(x);
      }

      @Override
      public Tensor gradient(Tensor gradient, Tensor x) {
        return torch.gelu_backward(gradient, x);
      }
    },
    RELU(ExpertMlp.Form.RELU, 1) {
      @Override
      public Tensor apply(Tensor x) {
        return torch.relu(x);
      }

      @Override
      public Tensor gradient(Tensor gradient, Tensor x) {
        return torch.threshold_backward(gradient, x, new Scalar(0));
      }
    },
    SWIGLU(ExpertMlp.Form.SWIGLU, 2) {
      @Override
      public Tensor apply(Tensor x) {
        TensorVector halves = x.chunk(2, -1);
        return torch.silu(halves.get(0)).mul(halves.get(1));
      }

      @Override
      public Tensor gradient(Tensor gradient, Tensor x) {
        TensorVector halves = x.chunk(2, -1);
        Tensor gate = halves.get(0);
        Tensor first = torch.silu_backward(gradient.mul(halves.get(1)), gate);
        return torch.cat(new TensorVector(first, torch.silu(gate).mul(gradient)), -1);
      }
    },
    SQUARED_RELU(ExpertMlp.Form.OTHER, 1) {
      @Override
      public Tensor apply(Tensor x) {
        return torch.relu(x).square();
      }

      @Override
      public Tensor gradient(Tensor gradient, Tensor x) {
        return torch.relu(x).mul(gradient).mul(new Scalar(2));
      }
    };

    private final ExpertMlp.Form form;
    private final int inputs;

    Act(ExpertMlp.Form form, int inputs) {
      this.form = form;
      this.inputs = inputs;
    }

    @Override
    public ExpertMlp.Form form() {
      return form;
    }

    /** How many channels before it make one after it. */
    int inputs() {
      return inputs;
    }
  }

  /**
   * What is computed.
   *
   * @param h channels of tokens
   * @param f channels between the products
   * @param dropout its probability
   */
  record Shape(int h, int f, Act act, boolean biases, double dropout) {
    @Override
    public String toString() {
      return "%s h=%d f=%d%s%s"
          .formatted(act, h, f, biases ? " biases" : "", dropout > 0 ? " dropout" : "");
    }
  }

  final Shape shape;
  final ScalarType type;

  /** Where each group ends. */
  final long[] ends;

  /** R, with the rows behind the last group. */
  final long rows;

  private final Comparison on;

  /**
   * Groups of these sizes with rows behind the last.
   *
   * @param sizes of the groups
   */
  RoutedCase(Comparison on, ScalarType type, Shape shape, int behind, int... sizes) {
    this.on = on;
    this.type = type;
    this.shape = shape;
    this.ends = new long[sizes.length];
    long end = 0;
    for (int g = 0; g < sizes.length; g++) {
      end += sizes[g];
      ends[g] = end;
    }
    this.rows = end + behind;
  }

  /** Sizes of so many groups, each below a bound. */
  static int[] sizes(Random random, int groups, int bound) {
    return random.ints(groups, 0, bound).toArray();
  }

  int groups() {
    return ends.length;
  }

  /** The rows of groups. */
  long last() {
    return ends[ends.length - 1];
  }

  /** Normal numbers of the type, in fp64 on the CPU. */
  Tensor normal(double deviation, long... size) {
    return on.normal(type, size).mul(new Scalar(deviation)).to(type).to(ScalarType.Double);
  }

  /** The same with garbage in the rows behind the last group. */
  Tensor normalRows(double deviation, long columns) {
    Tensor t = normal(deviation, rows, columns);
    t.narrow(0, last(), rows - last()).fill_(new Scalar(Double.NaN));
    return t;
  }

  /** Weights of the rows in fp32, garbage behind the last group. */
  Tensor weight() {
    Tensor t = on.normal(ScalarType.Float, rows);
    t.narrow(0, last(), rows - last()).fill_(new Scalar(Double.NaN));
    return t;
  }

  /**
   * fc1, fc2 and, where there are any, the biases.
   *
   * @param bias1 the first bias's standard deviation
   */
  Tensor[] weights(double bias1) {
    int inner = shape.act.inputs() * shape.f;
    Tensor fc1 = normal(1 / Math.sqrt(shape.h), groups(), inner, shape.h);
    Tensor fc2 = normal(1 / Math.sqrt(shape.f), groups(), shape.h, shape.f);
    return new Tensor[] {
      fc1,
      fc2,
      shape.biases ? normal(bias1, groups(), inner) : null,
      shape.biases ? normal(1, groups(), shape.h) : null
    };
  }

  static ExpertMlp.Weights weights(Tensor... all) {
    return new ExpertMlp.Weights(all[0], all[2], all[1], all[3]);
  }

  /** Where groups end: int32 on a device. */
  Tensor offsets(Device device) {
    return Tensors.of(ends).to(device, ScalarType.Int);
  }

  /** Of each row a token below a bound, of some none. */
  long[] tokens(Random random, int bound) {
    long[] token = new long[Math.toIntExact(rows)];
    Arrays.setAll(token, r -> random.nextInt(9) == 0 ? -1 : random.nextInt(bound));
    return token;
  }

  /** How many rows the largest group has. */
  long most() {
    long most = 0;
    for (int g = 0; g < ends.length; g++) {
      most = Math.max(most, ends[g] - (g == 0 ? 0 : ends[g - 1]));
    }
    return most;
  }

  /**
   * The dropout's draws by a position that lies on a device. A kept value's factor, 1.25, has few
   * digits in every type.
   */
  Dropout drop(Device device) {
    if (shape.dropout == 0) {
      return Dropout.NONE;
    }
    long step = 7;
    StepRandom draws =
        device.is_cuda()
            ? StepRandom.onDevice(
                on.seed(), Tensors.of(new long[] {step, 0}).to(device, ScalarType.Long), 1)
            : new StepRandom(on.seed(), step, 0, 1);
    return new Dropout(draws, shape.dropout, 5, 2);
  }

  Tensor onDevice(Tensor t) {
    return t == null ? null : t.to(on.device(), type);
  }
}
