package moe4j.tensor;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Edge;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Node;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorBase;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorTensorHook;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A function whose gradient is written in Java: any number of inputs and outputs, of any shapes and
 * types. An instance is one application; it may keep what its backward needs in fields.
 *
 * <p>The presets map no {@code torch::autograd::Function}, so the graph is put together from nodes
 * of libtorch's own, made on the meta device, which has no memory: each input is reduced to a
 * scalar (and the gradient of that, expanded to the input's shape, is swapped for the true one by a
 * hook), the scalars are added, and each output hangs on the sum through a node whose backward
 * merely hands a scalar view on. A hook on the output has taken the true gradient by then. Nothing
 * of this is computed: the scalars share one element's memory.
 */
public abstract class CustomFunction {
  // A DeviceOptional would compile, too, but be taken for a pointer to options, those of the CPU.
  private static final TensorOptions META =
      Scopes.keep(() -> new TensorOptions(new Device("meta")));

  /** A zero for each type and device: the memory of all scalars, whose values nobody reads. */
  private static final Map<String, Tensor> ZEROS = new ConcurrentHashMap<>();

  /**
   * The result of the hook called last: libtorch takes its own reference after the hook has
   * returned.
   */
  private static final ThreadLocal<Tensor> LAST_RESULT = new ThreadLocal<>();

  /**
   * Hooks that no scope holds: with libtorch's reference alone the garbage collector would take
   * them before the backward.
   */
  private static final Set<Hook> UNSCOPED =
      Collections.synchronizedSet(Collections.newSetFromMap(new IdentityHashMap<>()));

  private boolean[] needed = new boolean[0];
  private final List<Hook> hooks = new ArrayList<>();
  private Tensor[] outputGradients;
  private Tensor[] inputGradients;
  private int pending;
  private boolean recorded;
  private PointerScope home;
  private final List<Tensor> saved = new ArrayList<>();

  /**
   * Computes the outputs, without recording.
   *
   * @return fresh tensors, no views of inputs but for an input that is handed on, detached
   */
  protected abstract Tensor[] forward(Tensor[] inputs);

  /**
   * Computes the gradients of the inputs, without recording.
   *
   * @param gradients of the outputs, contiguous; null for an output that was not used
   * @return one for each input, of its shape and type; null where {@link #needsGradient} says no
   */
  protected abstract Tensor[] backward(Tensor[] gradients);

  /** Whether the gradient of an input is asked for. */
  protected final boolean needsGradient(int input) {
    return needed[input];
  }

  /** Whether there will be a backward. */
  protected final boolean isRecorded() {
    return recorded;
  }

  /**
   * Keeps a tensor for the backward: the handle that the forward was given may be closed by then.
   */
  protected final Tensor save(Tensor tensor) {
    if (!recorded) {
      return tensor;
    }
    Tensor kept = tensor.detach();
    keep(kept);
    saved.add(kept);
    return kept;
  }

  private void keep(Tensor tensor) {
    if (home != null) {
      home.attach(tensor);
    } else {
      tensor.retainReference();
    }
  }

  /**
   * Applies the function, and records its gradient if gradients are on and an input asks for one.
   *
   * @param inputs tensors; null for one that is absent, where the function allows that
   * @return what {@link #forward} returns
   */
  public final Tensor[] apply(Tensor... inputs) {
    needed = new boolean[inputs.length];
    for (int i = 0; i < inputs.length; i++) {
      needed[i] = inputs[i] != null && inputs[i].requires_grad() && GradMode.is_enabled();
      recorded |= needed[i];
    }
    home = recorded ? outermost() : null;
    Tensor[] outputs;
    try (NoGradGuard guard = new NoGradGuard()) {
      outputs = forward(inputs);
    }
    if (recorded) {
      record(inputs, outputs);
    }
    return outputs;
  }

  /**
   * Closes the gradient that the last backward on this thread handed over last. Otherwise its
   * memory would stay until the next backward begins.
   */
  public static void settle() {
    Tensor last = LAST_RESULT.get();
    LAST_RESULT.remove();
    if (last != null) {
      last.close();
    }
  }

  private void record(Tensor[] inputs, Tensor[] outputs) {
    outputGradients = new Tensor[outputs.length];
    Tensor sum = null;
    for (int i = 0; i < inputs.length; i++) {
      if (needed[i]) {
        Tensor scalar = link(inputs[i], i);
        sum = sum == null ? scalar : add(sum, scalar);
        pending++;
      }
    }
    for (int i = 0; i < outputs.length; i++) {
      attach(outputs[i], sum, i);
    }
  }

  /** The scope of the micro-step: what a backward needs lives as long as that. */
  private static PointerScope outermost() {
    PointerScope last = null;
    for (var scopes = PointerScope.getScopeIterator(); scopes.hasNext(); ) {
      last = scopes.next();
    }
    return last;
  }

  /** Makes a scalar of an input, and hangs a hook on the input that puts in the true gradient. */
  private Tensor link(Tensor input, int index) {
    Tensor alias = input.view_as(input);
    hook(alias, incoming -> inputGradient(index));
    Node node = meta(input.shape()).sum().grad_fn();
    node.set_next_edge(0, new Edge(alias.grad_fn(), 0));
    return scalar(node, input);
  }

  /** Adds two scalars: the gradient of the sum goes to both. */
  private static Tensor add(Tensor a, Tensor b) {
    Node node = meta().add(meta()).grad_fn();
    node.set_next_edge(0, new Edge(a.grad_fn(), 0));
    node.set_next_edge(1, new Edge(b.grad_fn(), 0));
    return scalar(node, a);
  }

  /** A scalar whose gradient goes to a node, of a tensor's type and on its device. */
  private static Tensor scalar(Node node, Tensor like) {
    Tensor scalar = zero(like).detach();
    node.clear_input_metadata();
    torch.create_gradient_edge(scalar, node);
    return scalar;
  }

  private static Tensor zero(Tensor like) {
    ScalarType dtype = Tensors.dtype(like);
    Device device = like.device();
    return ZEROS.computeIfAbsent(
        dtype + " " + device.type().intern() + " " + device.index(),
        key -> Scopes.keep(() -> Tensors.zeros(dtype, device)));
  }

  /** A tensor without memory that asks for a gradient. */
  static Tensor meta(long... shape) {
    return torch.empty(shape, META, new MemoryFormatOptional()).set_requires_grad(true);
  }

  /** Hangs an output on the sum, and the hook that takes its gradient. */
  private void attach(Tensor output, Tensor sum, int index) {
    // An empty output has no element that could be the scalar; as an expanded one its gradient is a
    // sum.
    Tensor scattered =
        output.numel() == 0
            ? meta().expand(output.shape())
            : meta(output.shape())
                .detach()
                .as_strided_scatter(meta(), new long[0], new long[0], new LongOptional(0));
    Node node = scattered.grad_fn();
    int edge = 0;
    for (int i = 0; i < node.num_outputs(); i++) {
      edge = node.next_edge(i).is_valid() ? i : edge;
    }
    node.set_next_edge(edge, new Edge(sum.grad_fn(), 0));
    node.clear_input_metadata();
    torch.create_gradient_edge(output, node);
    hook(
        output,
        incoming -> {
          Tensor kept = incoming.contiguous();
          keep(kept);
          outputGradients[index] = kept;
          incoming.retainReference();
          return incoming;
        });
  }

  /** The work of a hook. */
  interface Body {
    /** A gradient for a gradient; the result carries a reference of its own. */
    Tensor call(Tensor gradient);
  }

  private Tensor inputGradient(int index) {
    if (inputGradients == null) {
      try (NoGradGuard guard = new NoGradGuard()) {
        inputGradients = backward(outputGradients);
      }
      for (Tensor gradient : inputGradients) {
        if (gradient != null) {
          gradient.retainReference();
        }
      }
      for (Tensor gradient : outputGradients) {
        if (gradient != null) {
          gradient.close();
        }
      }
      saved.forEach(Tensor::close);
    }
    if (--pending == 0) {
      hooks.forEach(UNSCOPED::remove);
    }
    return inputGradients[index];
  }

  private void hook(Tensor tensor, Body body) {
    Hook hook = new Hook(body);
    hooks.add(hook);
    if (home != null) {
      home.attach(hook);
    } else {
      UNSCOPED.add(hook);
    }
    tensor.register_hook(hook);
  }

  /** A hook whose result is closed once libtorch has its own reference. */
  static final class Hook extends TensorTensorHook {
    private final Body body;

    Hook(Body body) {
      this.body = body;
    }

    @Override
    public TensorBase call(TensorBase gradient) {
      // Temporaries are closed at once, the result when the next hook runs: by then libtorch has a
      // reference.
      Tensor before = LAST_RESULT.get();
      Tensor result;
      try (PointerScope scope = new PointerScope()) {
        result = body.call(new Tensor(gradient));
      }
      if (before != null) {
        before.close();
      }
      LAST_RESULT.set(result);
      return result;
    }
  }
}
