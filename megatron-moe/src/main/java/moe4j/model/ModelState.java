package moe4j.model;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Supplier;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.Dtype;
import moe4j.checkpoint.Slice;
import moe4j.checkpoint.TensorSource;
import moe4j.optimizer.AdamW;
import moe4j.optimizer.OptimizerState;
import moe4j.optimizer.Sharing;
import moe4j.parallel.Groups;
import moe4j.tensor.Tensors;
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

  /** The name of the optimizer's step counter, which every checkpoint with optimizer state has. */
  public static final String STEP = "optimizer.state.step";

  /** What stands before a parameter's name. */
  private static final Map<OptimizerState.Kind, String> PREFIXES =
      Map.of(
          OptimizerState.Kind.MASTER, "optimizer.state.fp32_param.",
          OptimizerState.Kind.EXP_AVG, "optimizer.state.exp_avg.",
          OptimizerState.Kind.EXP_AVG_SQ, "optimizer.state.exp_avg_sq.");

  private ModelState() {}

  /**
   * What this rank is to save of the parameters and buffers. Of what several ranks hold alike each
   * saves a part.
   */
  public static List<TensorSource> model(ParameterSet parameters) {
    List<TensorSource> sources = new ArrayList<>();
    Groups groups = parameters.groups();
    int number = 0;
    for (Parameter parameter : parameters.all()) {
      if (Sharing.of(parameter, groups).isDealt(number++)) {
        for (Piece piece : parameter.pieces()) {
          sources.add(source("", piece, parameter.tensor()));
        }
      }
    }
    for (Parameter.Buffer buffer : parameters.buffers()) {
      if (buffer.batched() && groups.tensor().rank() == 0) {
        sources.add(source("", batched(buffer, groups), buffer.tensor()));
      } else if (!buffer.batched() && number++ % groups.world().size() == groups.world().rank()) {
        sources.add(source(buffer.name(), buffer.tensor()));
      }
    }
    return sources;
  }

  /**
   * What this rank is to save of the optimizer's state: moments, step counter, and masters where
   * there are any. Of what several ranks hold alike each saves a part.
   */
  public static List<TensorSource> optimizer(AdamW optimizer) {
    List<TensorSource> sources = new ArrayList<>();
    Groups groups = optimizer.groups();
    if (groups.world().rank() == 0) {
      sources.add(source(STEP, optimizer.stepCounter()));
    }
    int number = 0;
    for (OptimizerState state : optimizer.states()) {
      Sharing sharing = Sharing.of(state.parameter(), groups);
      // Segments differ from rank to rank, and so do their numbers.
      boolean saves =
          optimizer.isDistributed() ? sharing.countsHere(true) : sharing.isDealt(number++);
      if (saves) {
        for (Held held : held(state)) {
          if (held.kind() == OptimizerState.Kind.MASTER && !state.hasMaster()) {
            continue;
          }
          Piece box = held.piece();
          sources.add(
              new TensorSource(
                  held.name(),
                  Dtype.F32,
                  box.globalShape(),
                  new Slice(box.offset(), box.shape()),
                  content(() -> state.read(held.kind(), box.start(), box.start() + box.volume()))));
        }
      }
    }
    return sources;
  }

  /** A box of one of a state's tensors; its elements begin at {@code piece.start()} there. */
  private record Held(OptimizerState.Kind kind, Piece piece) {
    String name() {
      return PREFIXES.get(kind) + piece.name();
    }
  }

  private static List<Held> held(OptimizerState state) {
    List<Held> all = new ArrayList<>();
    for (Piece piece : state.parameter().pieces()) {
      for (Piece box : within(piece, state.from(), state.to())) {
        for (OptimizerState.Kind kind : OptimizerState.Kind.values()) {
          all.add(new Held(kind, box));
        }
      }
    }
    return all;
  }

  /** What of a piece lies in a range of its parameter, as boxes that start in that range. */
  private static List<Piece> within(Piece piece, long from, long to) {
    long first = Math.max(from, piece.start());
    long end = Math.min(to, piece.start() + piece.volume());
    List<Piece> boxes = new ArrayList<>();
    if (first >= end) {
      return boxes;
    }
    long at = first - from;
    for (Slice box : Slice.ofRange(piece.shape(), first - piece.start(), end - piece.start())) {
      List<Long> offset = new ArrayList<>();
      for (int d = 0; d < box.offset().size(); d++) {
        offset.add(piece.offset().get(d) + box.offset().get(d));
      }
      boxes.add(new Piece(piece.name(), piece.globalShape(), offset, box.shape(), at));
      at += box.volume();
    }
    return boxes;
  }

  private static TensorSource source(String prefix, Piece piece, Tensor like) {
    return new TensorSource(
        prefix + piece.name(),
        dtype(like),
        piece.globalShape(),
        new Slice(piece.offset(), piece.shape()),
        content(() -> piece.of(like.detach())));
  }

  private static TensorSource source(String name, Tensor tensor) {
    return TensorSource.whole(
        name,
        dtype(tensor),
        Arrays.stream(tensor.shape()).boxed().toList(),
        content(tensor::detach));
  }

  private static TensorSource.Content content(Supplier<Tensor> tensor) {
    return sink -> {
      try (PointerScope scope = new PointerScope()) {
        Tensors.bytes(tensor.get().cpu().contiguous(), sink::write);
      }
    };
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
   * What a checkpoint holds, for a model that is to be made of its configuration: a parameter of
   * another size is refused before memory is taken for it.
   */
  public static ParameterSet.Expectation expectation(Checkpoint checkpoint) {
    return (name, shape) -> {
      List<Long> stored;
      try {
        stored = checkpoint.tensor(name).shape();
      } catch (IOException e) {
        throw new IllegalArgumentException(e.getMessage(), e);
      }
      if (!stored.equals(shape)) {
        throw new IllegalArgumentException(
            "checkpoint %s has %s with shape %s, and its configuration says %s"
                .formatted(checkpoint.directory(), name, stored, shape));
      }
    };
  }

  /**
   * Makes a checkpoint's model for use and not for training.
   *
   * @param like the name of a tensor that has the model's type
   * @param made makes the model, whose parameters it gives to the set
   * @throws IllegalArgumentException where checkpoint and configuration differ: one sentence
   * @throws IOException where the checkpoint cannot be read, or lacks a parameter: likewise
   */
  public static <M extends LanguageModel> M trained(
      Checkpoint checkpoint, String like, Device device, Function<ParameterSet, M> made)
      throws IOException {
    boolean bf16 = checkpoint.tensor(like).dtype() == Dtype.BF16;
    ParameterSet parameters =
        new ParameterSet(0, bf16 ? ScalarType.BFloat16 : ScalarType.Float, device);
    try {
      parameters.expect(expectation(checkpoint));
      M model = made.apply(parameters);
      loadModel(checkpoint, parameters);
      return model;
    } catch (IOException | RuntimeException e) {
      parameters.close();
      throw e;
    }
  }

  /**
   * Loads the parameters and buffers, converting between fp32 and bf16 where the checkpoint's type
   * is another.
   *
   * @throws IOException where a parameter is missing or has another shape: one sentence
   */
  public static void loadModel(Checkpoint checkpoint, ParameterSet parameters) throws IOException {
    for (Parameter parameter : parameters.all()) {
      for (Piece piece : parameter.pieces()) {
        load(checkpoint, piece.name(), piece, parameter.tensor());
      }
    }
    for (Parameter.Buffer buffer : parameters.buffers()) {
      Piece piece =
          buffer.batched()
              ? batched(buffer, parameters.groups())
              : whole(buffer.name(), buffer.tensor());
      load(checkpoint, buffer.name(), piece, buffer.tensor());
    }
  }

  /**
   * Loads the optimizer's state, after the parameters. Masters that the checkpoint lacks, it being
   * an fp32 model's, are its parameters; fp32 parameters are the masters of a bf16 model's.
   */
  public static void loadOptimizer(Checkpoint checkpoint, AdamW optimizer) throws IOException {
    load(checkpoint, STEP, whole(STEP, optimizer.stepCounter()), optimizer.stepCounter());
    for (OptimizerState state : optimizer.states()) {
      List<Held> all = held(state);
      for (OptimizerState.Kind kind : OptimizerState.Kind.values()) {
        boolean own = kind == OptimizerState.Kind.MASTER && !state.hasMaster();
        load(
            checkpoint,
            state,
            kind,
            all.stream()
                .filter(h -> h.kind() == kind && (!own || checkpoint.contains(h.name())))
                .toList());
      }
    }
    optimizer.shareParameters();
  }

  /** Loads one of a state's tensors in fp32, and has it kept as the state keeps it. */
  private static void load(
      Checkpoint checkpoint, OptimizerState state, OptimizerState.Kind kind, List<Held> boxes)
      throws IOException {
    if (boxes.isEmpty()) {
      return;
    }
    try (PointerScope scope = new PointerScope()) {
      Tensor values = state.read(kind);
      for (Held held : boxes) {
        boolean lacks = kind == OptimizerState.Kind.MASTER && !checkpoint.contains(held.name());
        load(checkpoint, lacks ? held.piece().name() : held.name(), held.piece(), values);
      }
      state.set(kind, values);
    }
  }

  /** This rank's rows of all data-parallel ranks'. */
  private static Piece batched(Parameter.Buffer buffer, Groups groups) {
    List<Long> shape = Arrays.stream(buffer.tensor().shape()).boxed().toList();
    List<Long> global = new ArrayList<>(shape);
    List<Long> offset = new ArrayList<>(Collections.nCopies(shape.size(), 0L));
    global.set(0, shape.get(0) * groups.data().size());
    offset.set(0, shape.get(0) * groups.data().rank());
    return new Piece(buffer.name(), global, offset, shape, 0);
  }

  private static Piece whole(String name, Tensor tensor) {
    List<Long> shape = Arrays.stream(tensor.shape()).boxed().toList();
    return new Piece(name, shape, Collections.nCopies(shape.size(), 0L), shape, 0);
  }

  /** Sets masters to the parameters: after loading the weights alone. */
  public static void resetMasters(AdamW optimizer) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      for (OptimizerState state : optimizer.states()) {
        if (state.hasMaster()) {
          state.setMaster(state.of(state.parameter().tensor()).to(ScalarType.Float));
        }
      }
    }
  }

  private static void load(Checkpoint checkpoint, String name, Piece piece, Tensor target)
      throws IOException {
    var stored = checkpoint.tensor(name);
    if (!stored.shape().equals(piece.globalShape())) {
      throw new IOException(
          "checkpoint %s has %s with shape %s, the model wants %s"
              .formatted(checkpoint.directory(), name, stored.shape(), piece.globalShape()));
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
      long[] shape = piece.shape().stream().mapToLong(Long::longValue).toArray();
      Tensor host = Tensors.zeros(type, new Device("cpu"), shape);
      checkpoint.read(
          name,
          new Slice(piece.offset(), piece.shape()),
          MAX_PIECE,
          (offset, bytes) -> Tensors.window(host, offset, bytes.remaining()).put(bytes));
      piece.of(target.detach()).copy_(host);
    }
  }
}
