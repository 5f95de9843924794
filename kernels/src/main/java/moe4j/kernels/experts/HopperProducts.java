package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.cuda.TensorMap;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.GradientSum;
import moe4j.kernels.product.KnownSquares;
import moe4j.kernels.product.RowChunks;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The products by {@code grouped.cu}, a launch each. GELU and ReLU with biases, dropout and weights
 * are part of the products; other activations are kernels or operations between them.
 */
final class HopperProducts extends GroupedProducts {
  private static final String SOURCE = "experts/grouped.cu";
  private static final int THREADS = 512;

  /** What a box has of rows, columns or terms. */
  private static final int BOX = 64;

  /** Of a block that adds parts of gradients up. */
  private static final int PARTS_THREADS = 512;

  /** On each multiprocessor. */
  private static final long PARTS_BLOCKS = 3;

  /** Warps of a block that each leave a sum of squares. */
  private static final int FINISHERS = 7;

  /** What the kernel computes, by its names. */
  enum Op {
    UP,
    PLAIN_UP,
    DOWN,
    DUP,
    DX,
    DW;

    /** Whether the weights' rows, and not their columns, are what is summed over. */
    private boolean sumsOverWeightRows() {
      return this == DUP || this == DX;
    }
  }

  /**
   * A product's sizes.
   *
   * @param m the result's rows in each group, or 0 where these are the groups' rows
   * @param n its columns
   * @param k terms of a sum, or 0 where these are the groups' rows
   */
  private record Size(long m, long n, long k) {
    List<Integer> arguments() {
      return List.of(Math.toIntExact(m), Math.toIntExact(n), Math.toIntExact(k));
    }
  }

  /**
   * Where results go, and what they are made of beside the product; each may be null.
   *
   * @param add where out is an fp32 sum of gradients: whether this one is added, or stored
   * @param parts of a weight's gradient that is no such sum
   */
  private record Results(
      Tensor before, Tensor out, Tensor second, Tensor totals, Boolean add, Parts parts) {
    Results(Tensor before, Tensor out, Tensor second, Tensor totals) {
      this(before, out, second, totals, null, null);
    }
  }

  /**
   * Where gradients of groups with many rows go first.
   *
   * @param values [slots, m, n], or any gradients where no group has more
   * @param most rows of a group that is not cut, or 0
   */
  private record Parts(Tensor values, int most) {}

  private final Groups groups;
  private final ExpertMlp.Weights weights;
  private final Tensor offsets;
  private final long rows;
  private final Between between;
  private final ExpertMlp.Activation activation;
  private final Dropout drop;
  private final Dropout.Draws draws;

  /** The rows' weights in fp32. */
  private final Tensor weight;

  /** Whether activation, dropout, bias and weight are part of the products. */
  private final boolean fused;

  /**
   * The products of some groups.
   *
   * @param keep keeps a tensor for the backward
   */
  HopperProducts(Groups groups, Between between, UnaryOperator<Tensor> keep) {
    this.groups = groups;
    this.weights = groups.weights();
    this.offsets = groups.offsets();
    this.rows = groups.rows();
    this.between = between;
    this.activation = between.activation();
    this.drop = between.drop();
    this.weight = keep.apply(groups.weight().to(ScalarType.Float));
    // As many elements as the activations have, without their memory.
    Tensor one = Tensors.empty(ScalarType.BFloat16, weight.device(), 1, 1);
    Dropout.Draws fresh = drop.draws(one.expand(rows, weights.fc2().size(2)));
    this.draws = drop.isNone() ? fresh : fresh.at(keep.apply(fresh.position()));
    ExpertMlp.Form form = activation.form();
    this.fused =
        (form == ExpertMlp.Form.GELU || form == ExpertMlp.Form.RELU)
            && (drop.isNone() || draws.inBlocks());
    Launch.require(offsets, "offsets", ScalarType.Int, weights.fc1().size(0));
  }

  @Override
  Up up(Tensor x) {
    long inner = weights.fc1().size(1);
    Tensor product = result(rows, inner);
    Size size = new Size(0, inner, x.size(1));
    if (fused) {
      Tensor activated = result(rows, inner);
      Results results = new Results(null, product, activated, null);
      launch(Op.UP, x, weights.fc1(), size, weights.bias1(), results);
      return new Up(product, activated);
    }
    launch(Op.PLAIN_UP, x, weights.fc1(), size, null, new Results(null, product, null, null));
    return apart(product);
  }

  @Override
  Tensor down(Tensor activated) {
    long h = weights.fc2().size(1);
    Tensor y = result(rows, h);
    Size size = new Size(0, h, activated.size(1));
    Results results = new Results(null, y, null, null);
    launch(Op.DOWN, activated, weights.fc2(), size, weights.bias2(), results);
    return y;
  }

  @Override
  Down backward(Tensor gradient, Tensor kept, Wanted wanted) {
    long tiles = fused ? ProductCut.leftTiles(kept.size(1)) : 1;
    GroupBias.Rows second =
        weights.bias2() == null ? null : new GroupBias.Rows(weights.bias2(), weight, offsets, rows);
    // The parts of which a weight's gradient is the sum: of the activations, and of the bias.
    int parts = second != null && wanted.weight() ? second.parts(gradient) : 0;
    Tensor dots = Tensors.empty(ScalarType.Float, weight.device(), tiles + parts, rows);
    Tensor dinner = fused ? dup(gradient, kept, dots) : apart(gradient, kept, dots);
    Tensor dbias1 = wanted.bias1() ? Launch.empty(weights.bias1()) : null;
    if (dbias1 != null) {
      new GroupBias.Rows(weights.bias1(), null, offsets, rows).backward(dinner, dbias1, null);
    }
    Tensor dbias2 = wanted.bias2() ? Launch.empty(weights.bias2()) : null;
    if (dbias2 != null || parts > 0) {
      second.backward(gradient, dbias2, parts > 0 ? dots.narrow(0, tiles, parts) : null);
    }
    Tensor dweight = wanted.weight() ? Launch.empty(groups.weight()) : null;
    RowChunks.over(rows, weights.fc2().size(2), offsets, true)
        .finish(offsets, null, null, dots, dweight);
    return new Down(dinner, dweight, dbias1, dbias2);
  }

  private Tensor dup(Tensor gradient, Tensor kept, Tensor dots) {
    Tensor dinner = Launch.empty(kept);
    Size size = new Size(0, kept.size(1), gradient.size(1));
    Results results = new Results(kept, dinner, null, dots);
    Tensor bias = between.keepsResult() ? null : weights.bias1();
    launch(Op.DUP, gradient, weights.fc2(), size, bias, results);
    return dinner;
  }

  @Override
  Tensor inputGradient(Tensor inner) {
    return plain(inner, weights.fc1());
  }

  /** {@code left[r] right[g]}. */
  private Tensor plain(Tensor left, Tensor right) {
    Tensor out = result(rows, right.size(2));
    Size size = new Size(0, right.size(2), right.size(1));
    launch(Op.DX, left, right, size, null, new Results(null, out, null, null));
    return out;
  }

  @Override
  Tensor weightGradient(Tensor left, Tensor right, Tensor parameter) {
    long count = weights.fc1().size(0);
    if (rows == 0) {
      return Tensors.zeros(
          ScalarType.BFloat16, weight.device(), count, left.size(1), right.size(1));
    }
    Tensor out = result(count, left.size(1), right.size(1));
    Size size = new Size(left.size(1), right.size(1), 0);
    int most = ProductCut.ofColumns(size.n).mostRows(rows, size.m, size.n, blocks());
    long sums = most == 0 ? FINISHERS : FINISHERS + PARTS_BLOCKS;
    Tensor squares = Tensors.empty(ScalarType.Float, weight.device(), blocks() * sums);
    Tensor parts = most == 0 ? out : result(ProductCut.mostParts(rows, most), size.m, size.n);
    Results results = new Results(null, out, null, squares, null, new Parts(parts, most));
    launch(Op.DW, left, right, size, null, results);
    if (most > 0) {
      long first = (long) blocks() * FINISHERS;
      addParts(size, results.parts, out, squares.narrow(0, first, blocks() * PARTS_BLOCKS));
      parts.close();
    }
    KnownSquares.leave(parameter, out, squares);
    return out;
  }

  /** Makes the gradients of the groups that were cut of their parts. */
  private void addParts(Size size, Parts parts, Tensor out, Tensor squares) {
    CudaKernel.of("experts/gradient_parts.cu", "gradient_parts", "THREADS=" + PARTS_THREADS)
        .launch(
            blocks() * PARTS_BLOCKS,
            PARTS_THREADS,
            0,
            offsets,
            Math.toIntExact(offsets.numel()),
            Math.toIntExact(size.m),
            Math.toIntExact(size.n),
            parts.most,
            parts.values,
            out,
            squares);
  }

  @Override
  void addWeightGradient(Tensor left, Tensor right, GradientSum sum) {
    if (rows == 0) {
      super.addWeightGradient(left, right, sum);
      return;
    }
    GradientSum.Target target = sum.target(blocks() * FINISHERS);
    Size size = new Size(left.size(1), right.size(1), 0);
    long elements = weights.fc1().size(0) * size.m * size.n;
    Launch.require(target.values(), "a sum of gradients", ScalarType.Float, elements);
    Results results =
        new Results(null, target.values(), null, target.squares(), !target.first(), null);
    launch(Op.DW, left, right, size, null, results);
  }

  private Tensor result(long... shape) {
    return Tensors.empty(ScalarType.BFloat16, weight.device(), shape);
  }

  // What lies between the products of other activations.

  private Tensor biased(Tensor product) {
    return weights.bias1() == null
        ? product
        : new GroupBias.Rows(weights.bias1(), null, offsets, rows).add(product);
  }

  private boolean isGatedKernel() {
    return activation.form() == ExpertMlp.Form.SWIGLU && drop.isNone();
  }

  private Tensor weighted(Tensor x) {
    return x.mul(weight.to(Tensors.dtype(x)).unsqueeze(1));
  }

  /** What comes of the first product. */
  private Up apart(Tensor product) {
    Tensor before = biased(product);
    if (isGatedKernel()) {
      return new Up(product, new WeightedActivation.Rows(true, before, weight).forward());
    }
    Tensor result = drop.apply(activation.apply(before));
    return new Up(between.keepsResult() ? result : product, weighted(result));
  }

  /**
   * The gradient before the activation.
   *
   * @param dots gets the weights' in its first row
   */
  private Tensor apart(Tensor gradient, Tensor kept, Tensor dots) {
    Tensor du = plain(gradient, weights.fc2());
    Tensor dweight = dots.select(0, 0);
    if (between.keepsResult()) {
      dweight.copy_(du.mul(kept).to(ScalarType.Float).sum(1));
      return between.gradientByResult(weighted(du), kept).contiguous();
    }
    Tensor before = biased(kept);
    if (isGatedKernel()) {
      Tensor dbefore = Launch.empty(before);
      new WeightedActivation.Rows(true, before, weight).backward(du, dbefore, dweight);
      return dbefore;
    }
    Tensor dropped = drop.apply(du);
    dweight.copy_(dropped.mul(activation.apply(before)).to(ScalarType.Float).sum(1));
    return activation.gradient(weighted(dropped), before).contiguous();
  }

  // The launch.

  /** Blocks stay until all tiles are done, one on each multiprocessor. */
  private static int blocks() {
    return Cuda.multiprocessors();
  }

  private void launch(Op op, Tensor left, Tensor right, Size size, Tensor bias, Results results) {
    if (rows == 0) {
      return;
    }
    Operands operands = operands(op, left, right);
    ProductCut cut = operands.cut;
    boolean between = op == Op.UP || op == Op.DUP;
    List<Object> arguments = new ArrayList<>();
    arguments.add(operands.left);
    arguments.add(operands.right);
    arguments.add(offsets);
    arguments.add(Math.toIntExact(offsets.numel()));
    arguments.addAll(size.arguments());
    arguments.add(bias);
    arguments.add(weight);
    arguments.addAll(Arrays.asList(results.before, results.out, results.second, results.totals));
    arguments.add(Math.toIntExact(rows));
    List<String> defines = new ArrayList<>();
    defines.add("OP=" + op);
    defines.add("BLOCK_N=" + cut.right());
    defines.add("STAGES=" + cut.stages());
    if (between || op == Op.DOWN) {
      defines.add("BIAS=" + (bias == null ? 0 : 1));
    }
    if (between) {
      defines.add("ACTIVATION=" + activation.form());
      defines.add("DROPOUT=" + (drop.isNone() ? 0 : 1));
      if (!drop.isNone()) {
        defines.add(draws.define());
        arguments.addAll(key());
      }
    }
    if (results.add != null) {
      defines.add("ACCUMULATE=1");
      arguments.add(results.add ? 1 : 0);
    } else if (op == Op.DW) {
      // The copy engine stores these.
      arguments.add(TensorMap.of(results.out, 1, ProductCut.LEFT, BOX));
      arguments.add(TensorMap.of(results.parts.values, 1, ProductCut.LEFT, BOX));
      arguments.add(results.parts.most);
    }
    CudaKernel.of(SOURCE, "grouped", defines.toArray(new String[0]))
        .launch(blocks(), THREADS, cut.sharedBytes(), arguments.toArray());
  }

  /** The key of the draws, and which of them keep an element, times what. */
  private List<Object> key() {
    return Arrays.asList(
        drop.seed(),
        draws.position(),
        draws.run(),
        draws.stride(),
        draws.offset(),
        drop.layer(),
        drop.operation(),
        (int) Math.ceil((float) drop.p() * 0x1p24f),
        rounded(drop.scale()));
  }

  /** A number as bf16 has it, ties to even: the factor is rounded, as elsewhere. */
  static float rounded(float x) {
    int bits = Float.floatToRawIntBits(x);
    return Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
  }

  private record Operands(TensorMap left, TensorMap right, ProductCut cut) {}

  /** The kernel has weights on the left, as a tile can have few of the rows on the right. */
  private Operands operands(Op op, Tensor left, Tensor right) {
    if (op == Op.DW) {
      return new Operands(
          map(left, BOX, BOX), map(right, BOX, BOX), ProductCut.ofColumns(right.size(1)));
    }
    int high = op.sumsOverWeightRows() ? BOX : ProductCut.LEFT;
    return new Operands(
        map(right, 1, high, BOX),
        map(left, BOX, BOX),
        ProductCut.ofRows(rows, weights.fc1().size(0)));
  }

  private static TensorMap map(Tensor operand, int... box) {
    return TensorMap.of(Launch.aligned(operand) ? operand : operand.clone(), box);
  }
}
