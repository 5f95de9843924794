package moe4j.training;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.Dtype;
import moe4j.checkpoint.Slice;
import moe4j.checkpoint.TensorSource;
import moe4j.kernels.Tensors;
import moe4j.optimizer.AdamW;
import moe4j.transformer.Parameter;
import moe4j.transformer.Parameter.Piece;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A model's and its optimizer's tensors as a checkpoint knows them: under global names, experts one
 * by one, optimizer state by its parameter's name.
 */
public final class ModelState {
  /** Bytes read at a time. */
  private static final int MAX_PIECE = 1 << 26;

  static final String STEP = "optimizer.state.step";
  private static final String MASTER = "optimizer.state.fp32_param.";
  private static final String EXP_AVG = "optimizer.state.exp_avg.";
  private static final String EXP_AVG_SQ = "optimizer.state.exp_avg_sq.";

  private ModelState() {}

  /** The parameters and buffers, to be saved. */
  public static List<TensorSource> model(ParameterSet parameters) {
    List<TensorSource> sources = new ArrayList<>();
    for (Parameter parameter : parameters.all()) {
      for (Piece piece : parameter.pieces()) {
        sources.add(source(piece.name(), piece.tensor()));
      }
    }
    for (Piece buffer : parameters.buffers()) {
      sources.add(source(buffer.name(), buffer.tensor()));
    }
    return sources;
  }

  /** The optimizer's state, to be saved: moments, step counter, and masters where there are any. */
  public static List<TensorSource> optimizer(AdamW optimizer) {
    List<TensorSource> sources = new ArrayList<>();
    sources.add(source(STEP, optimizer.stepCounter()));
    for (Piece piece : optimizerPieces(optimizer)) {
      sources.add(source(piece.name(), piece.tensor()));
    }
    return sources;
  }

  private static List<Piece> optimizerPieces(AdamW optimizer) {
    List<Piece> pieces = new ArrayList<>();
    for (AdamW.State state : optimizer.states()) {
      Parameter parameter = state.parameter();
      if (state.hasMaster()) {
        add(pieces, MASTER, parameter, state.master());
      }
      add(pieces, EXP_AVG, parameter, state.expAvg());
      add(pieces, EXP_AVG_SQ, parameter, state.expAvgSq());
    }
    return pieces;
  }

  private static void add(List<Piece> pieces, String prefix, Parameter parameter, Tensor state) {
    for (Piece piece : parameter.pieces(state)) {
      pieces.add(new Piece(prefix + piece.name(), piece.tensor()));
    }
  }

  private static TensorSource source(String name, Tensor tensor) {
    return TensorSource.whole(
        name,
        dtype(tensor),
        Arrays.stream(tensor.shape()).boxed().toList(),
        sink -> {
          try (PointerScope scope = new PointerScope()) {
            Tensors.bytes(tensor.detach().cpu().contiguous(), sink::write);
          }
        });
  }

  private static Dtype dtype(Tensor tensor) {
    return dtype(Tensors.dtype(tensor));
  }

  private static Dtype dtype(ScalarType type) {
    return switch (type) {
      case Float -> Dtype.F32;
      case BFloat16 -> Dtype.BF16;
      default -> throw new IllegalArgumentException("no checkpoint type for " + type);
    };
  }

  /**
   * Loads the parameters and buffers, converting between fp32 and bf16 where the checkpoint's type
   * is another.
   *
   * @throws IOException where a parameter is missing or has another shape: one sentence
   */
  public static void loadModel(Checkpoint checkpoint, ParameterSet parameters) throws IOException {
    try (PointerScope scope = new PointerScope()) {
      for (Parameter parameter : parameters.all()) {
        for (Piece piece : parameter.pieces()) {
          load(checkpoint, piece.name(), piece.tensor());
        }
      }
      for (Piece buffer : parameters.buffers()) {
        load(checkpoint, buffer.name(), buffer.tensor());
      }
    }
  }

  /**
   * Loads the optimizer's state. Masters that the checkpoint lacks, it being an fp32 model's, are
   * its parameters.
   */
  public static void loadOptimizer(Checkpoint checkpoint, AdamW optimizer) throws IOException {
    try (PointerScope scope = new PointerScope()) {
      load(checkpoint, STEP, optimizer.stepCounter());
      for (Piece piece : optimizerPieces(optimizer)) {
        boolean lacks = piece.name().startsWith(MASTER) && !checkpoint.contains(piece.name());
        load(
            checkpoint,
            lacks ? piece.name().substring(MASTER.length()) : piece.name(),
            piece.tensor());
      }
    }
  }

  /** Sets masters to the parameters: after loading the weights alone. */
  public static void resetMasters(AdamW optimizer) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      for (AdamW.State state : optimizer.states()) {
        if (state.hasMaster()) {
          state.master().copy_(state.parameter().tensor());
        }
      }
    }
  }

  private static void load(Checkpoint checkpoint, String name, Tensor target) throws IOException {
    var stored = checkpoint.tensor(name);
    List<Long> shape = Arrays.stream(target.shape()).boxed().toList();
    if (!stored.shape().equals(shape)) {
      throw new IOException(
          "checkpoint %s has %s with shape %s, the model wants %s"
              .formatted(checkpoint.directory(), name, stored.shape(), shape));
    }
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      ScalarType type =
          switch (stored.dtype()) {
            case F32 -> ScalarType.Float;
            case BF16 -> ScalarType.BFloat16;
            default ->
                throw new IOException(
                    "checkpoint %s has %s in %s, neither F32 nor BF16"
                        .formatted(checkpoint.directory(), name, stored.dtype()));
          };
      Tensor host = Tensors.zeros(type, new Device("cpu"), target.shape());
      checkpoint.read(
          name,
          Slice.whole(shape),
          MAX_PIECE,
          (offset, bytes) -> Tensors.window(host, offset, bytes.remaining()).put(bytes));
      target.copy_(host);
    }
  }
}
