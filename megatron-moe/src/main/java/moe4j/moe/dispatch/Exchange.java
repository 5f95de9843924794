package moe4j.moe.dispatch;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Supplier;
import moe4j.parallel.Group;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Sends rows to other ranks and the experts' outputs back, part by part, forward and backward.
 * Communication begins in one autograd function and is waited for in another, so that everything
 * between the two is computed meanwhile:
 *
 * <pre>
 *   forward    leave: begin all   arrive i: wait   ... compute ...   giveBack i: begin   finish: wait for all
 *   backward   leave: wait for all   arrive i: begin   ... compute ...   giveBack i: wait   finish: begin all
 * </pre>
 *
 * While a gradient is under way, a function cannot return it. It returns another tensor of the same
 * shape, whose values the next function does not read.
 *
 * <p>All ranks make the same calls in the same order. In the backward, too: autograd goes through
 * the functions in the reverse order of their application. It must not leave out a part there, even
 * if no expert used the part's rows. So each arrival returns a {@code tie}, an empty tensor that
 * the way back takes as an input, which makes autograd visit both.
 */
final class Exchange {

  /** A tensor under way. */
  record Moving(Tensor tensor, Group.Pending pending) {
    /** Waits for it. */
    Tensor arrived() {
      pending.await();
      return tensor;
    }
  }

  /** Which rows go where, in one part; the two directions are each other's gradient. */
  interface Route {
    /** This part's rows of all, [S, ...], contiguous. */
    Tensor take(Tensor whole);

    /** Puts this part's rows where they belong. */
    void put(Tensor part, Tensor whole);

    /** Begins to send rows: [S, ...] to [R, ...] of other ranks. */
    Moving out(Tensor part);

    /**
     * Begins to send rows back: [R, ...] to [S, ...].
     *
     * @param rows contiguous
     */
    Moving back(Tensor rows);

    /** Whether {@link #back} may overwrite what it sends. */
    boolean overwrites();
  }

  private final List<Route> routes;
  private final long rows;

  /**
   * By part and tensor: the tensors on their way to the experts, and then the gradients of these.
   */
  private final Moving[][] there;

  private final Moving[][] thereGradients;
  private final Moving[][] back;
  private final Moving[][] backGradients;
  private boolean[] needed;

  /** One part, which takes all rows. */
  Exchange(Route route) {
    this(List.of(route), -1);
  }

  /**
   * @param routes the route of each part
   * @param rows how many rows a whole tensor has, including those that no part takes
   */
  Exchange(List<Route> routes, long rows) {
    this.routes = routes;
    this.rows = rows;
    this.there = new Moving[routes.size()][];
    this.thereGradients = new Moving[routes.size()][];
    this.back = new Moving[routes.size()][];
    this.backGradients = new Moving[routes.size()][];
  }

  int parts() {
    return routes.size();
  }

  /**
   * Begins to send rows.
   *
   * @param inputs [rows, ...] each; where one part takes all, of any number each
   * @return for each part, in order, the tensors that {@link #arrive} takes
   */
  Tensor[][] leave(Tensor... inputs) {
    Tensor[] flat = new Leave().apply(inputs);
    Tensor[][] parts = new Tensor[routes.size()][];
    for (int i = 0; i < parts.length; i++) {
      parts[i] = Arrays.copyOfRange(flat, i * inputs.length, (i + 1) * inputs.length);
    }
    return parts;
  }

  /**
   * Waits for a part.
   *
   * @return the rows that have arrived, and behind them the part's tie
   */
  Tensor[] arrive(int part, Tensor[] underWay) {
    Tensor[] arrived = new Arrive(part).apply(underWay);
    Tensor tie = arrived[arrived.length - 1];
    if (GradMode.is_enabled() && !tie.requires_grad()) {
      // The rows need no gradient, but experts' weights may, and on some ranks only: all others
      // have to take part in the backward, too.
      tie.set_requires_grad(true);
    }
    return arrived;
  }

  /**
   * Begins to send a part back.
   *
   * @param tie what {@link #arrive} gave
   * @param outputs [R, ...] each, as many rows as have arrived
   * @return what {@link #finish} takes
   */
  Tensor[] giveBack(int part, Tensor tie, List<Tensor> outputs) {
    Tensor[] inputs = outputs.toArray(new Tensor[outputs.size() + 1]);
    inputs[outputs.size()] = tie;
    return new GiveBack(part).apply(inputs);
  }

  /**
   * Waits for all parts.
   *
   * @param underWay of each part
   * @return [rows, ...] each
   */
  Tensor[] finish(Tensor[][] underWay) {
    int outputs = underWay[0].length;
    Tensor[] flat = Arrays.stream(underWay).flatMap(Arrays::stream).toArray(Tensor[]::new);
    return new Finish(outputs).apply(flat);
  }

  /** Waits for the tensors of all parts and puts them together. */
  private Tensor whole(Moving[][] parts, int index) {
    Tensor first = parts[0][index].arrived();
    if (rows < 0 || (parts.length == 1 && first.size(0) == rows)) {
      return first.detach();
    }
    long[] shape = first.shape();
    shape[0] = rows;
    // Rows that no part takes are zeros.
    Tensor whole = Tensors.zeros(Tensors.dtype(first), first.device(), shape);
    for (int i = 0; i < parts.length; i++) {
      routes.get(i).put(parts[i][index].arrived(), whole);
    }
    return whole;
  }

  /** Begins to send something in a backward, whose native-memory scope closes before it arrives. */
  private static Moving keep(Supplier<Moving> begin) {
    Moving[] moving = new Moving[1];
    Scopes.keep(
        () -> {
          moving[0] = begin.get();
          return moving[0].tensor();
        });
    return moving[0];
  }

  /** Type and shape of an output, for zeros in the place of a gradient that autograd lacks. */
  private static final class Like {
    private final ScalarType dtype;
    private final long[] shape;

    private Like(ScalarType dtype, long[] shape) {
      this.dtype = dtype;
      this.shape = shape;
    }

    static Like of(Tensor t) {
      return new Like(Tensors.dtype(t), t.shape());
    }

    Tensor gradient(Tensor given, Tensor[] all) {
      if (given != null) {
        return given;
      }
      Tensor any = Arrays.stream(all).filter(Objects::nonNull).findFirst().orElseThrow();
      return Tensors.zeros(dtype, any.device(), shape);
    }
  }

  private static Like[] likes(Tensor[] tensors) {
    return Arrays.stream(tensors).map(Like::of).toArray(Like[]::new);
  }

  private final class Leave extends CustomFunction {
    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      needed = new boolean[inputs.length];
      for (int k = 0; k < needed.length; k++) {
        needed[k] = needsGradient(k);
      }
      Tensor[] underWay = new Tensor[parts() * inputs.length];
      for (int i = 0; i < parts(); i++) {
        there[i] = new Moving[inputs.length];
        for (int k = 0; k < inputs.length; k++) {
          there[i][k] = routes.get(i).out(routes.get(i).take(inputs[k]));
          underWay[i * inputs.length + k] = there[i][k].tensor();
        }
      }
      return underWay;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor[] results = new Tensor[needed.length];
      for (int k = 0; k < results.length; k++) {
        results[k] = needed[k] ? whole(thereGradients, k) : null;
      }
      for (Moving[] part : thereGradients) {
        close(part);
      }
      return results;
    }
  }

  private static void close(Moving[] part) {
    for (Moving moving : part) {
      if (moving != null) {
        moving.tensor().close();
      }
    }
  }

  private final class Arrive extends CustomFunction {
    private final int part;
    private Like[] likes;

    Arrive(int part) {
      this.part = part;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      likes = likes(inputs);
      Tensor[] outputs = new Tensor[inputs.length + 1];
      for (int k = 0; k < inputs.length; k++) {
        outputs[k] = there[part][k].arrived().detach();
      }
      outputs[inputs.length] = Tensors.zeros(ScalarType.Float, inputs[0].device(), 0);
      return outputs;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor[] results = new Tensor[likes.length];
      thereGradients[part] = new Moving[results.length];
      for (int k = 0; k < results.length; k++) {
        Tensor gradient = likes[k].gradient(gradients[k], gradients);
        results[k] = gradient.detach();
        if (needed[k]) {
          // Other functions may hold the gradient's tensor as well: it must not be overwritten.
          Route route = routes.get(part);
          thereGradients[part][k] =
              keep(() -> route.back(route.overwrites() ? gradient.clone() : gradient));
        }
      }
      return results;
    }
  }

  private final class GiveBack extends CustomFunction {
    private final int part;

    GiveBack(int part) {
      this.part = part;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      int outputs = inputs.length - 1;
      back[part] = new Moving[outputs];
      Tensor[] underWay = new Tensor[outputs];
      for (int j = 0; j < outputs; j++) {
        back[part][j] = routes.get(part).back(inputs[j].contiguous());
        underWay[j] = back[part][j].tensor();
      }
      return underWay;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Moving[] moving = backGradients[part];
      Tensor[] results = new Tensor[moving.length + 1];
      for (int j = 0; j < moving.length; j++) {
        Tensor gradient = moving[j].arrived();
        results[j] = needsGradient(j) ? gradient.detach() : null;
      }
      results[moving.length] = Tensors.zeros(ScalarType.Float, moving[0].tensor().device(), 0);
      close(moving);
      return results;
    }
  }

  private final class Finish extends CustomFunction {
    private final int outputs;
    private Like[] likes;

    Finish(int outputs) {
      this.outputs = outputs;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor[] results = new Tensor[outputs];
      for (int j = 0; j < outputs; j++) {
        results[j] = whole(back, j);
      }
      likes = likes(results);
      return results;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor[] results = new Tensor[parts() * outputs];
      // The last part is the first that is computed.
      for (int i = parts() - 1; i >= 0; i--) {
        Route route = routes.get(i);
        backGradients[i] = new Moving[outputs];
        for (int j = 0; j < outputs; j++) {
          Tensor part = route.take(likes[j].gradient(gradients[j], gradients));
          backGradients[i][j] = keep(() -> route.out(part));
          results[i * outputs + j] = part.detach();
        }
      }
      return results;
    }
  }
}
