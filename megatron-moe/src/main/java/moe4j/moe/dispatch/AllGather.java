package moe4j.moe.dispatch;

import java.util.ArrayList;
import java.util.List;
import moe4j.moe.gate.Routing;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Gives every rank the tokens, choices and weights of all ranks that hold a copy of the experts
 * together; each computes the rows of its own experts, or of its part of them, and what comes out
 * is summed. All sizes are known beforehand, so nothing is asked of the device; rows that no token
 * has on this rank are memory only.
 */
final class AllGather implements TokenDispatcher {
  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));
  private static final Scalar NONE = Scopes.keep(() -> new Scalar(-1));

  private final Group block;
  private final ExpertRange own;

  AllGather(Groups groups, int experts) {
    this.block = groups.expertBlock();
    this.own = ExpertRange.of(experts, groups.expert());
  }

  @Override
  public Dispatch dispatch(List<Tensor> inputs, Routing routing) {
    return new Way(inputs, routing);
  }

  /** All rows to all ranks; sums on the way back. */
  private record Everywhere(Group block) implements Exchange.Route {
    @Override
    public Tensor take(Tensor whole) {
      return whole.contiguous();
    }

    @Override
    public void put(Tensor part, Tensor whole) {
      whole.copy_(part);
    }

    @Override
    public Exchange.Moving out(Tensor part) {
      Tensor all = Tensors.emptyRows(part, part.size(0) * block.size());
      return new Exchange.Moving(all, block.allGather(all, part));
    }

    @Override
    public Exchange.Moving back(Tensor rows) {
      Tensor sum = Tensors.emptyRows(rows, rows.size(0) / block.size());
      return new Exchange.Moving(sum, block.reduceScatter(sum, rows));
    }

    @Override
    public boolean overwrites() {
      return true;
    }
  }

  private final class Way implements Dispatch {
    private final boolean byToken;
    private final long capacity;
    private final long tokens;
    private final Exchange exchange = new Exchange(new Everywhere(block));
    private final Exchange.Moving numbers;
    private final Tensor[] there;
    private Tensor tie;
    private Tensor[] back;

    Way(List<Tensor> inputs, Routing routing) {
      // Choices, [T, k], or where experts have chosen the tokens, [E, C].
      byToken = routing.slot() != null;
      capacity = routing.capacity();
      tokens = routing.tokens();
      if (!byToken && capacity == 0) {
        throw new IllegalArgumentException(
            "--moe-token-dispatcher-type allgather: experts that choose their tokens have to choose"
                + " equally many each");
      }
      Tensor chosen =
          byToken ? routing.choices() : routing.token().view(routing.experts(), capacity);
      numbers = new Everywhere(block).out(chosen.contiguous());
      List<Tensor> all = new ArrayList<>();
      all.add(byToken ? routing.choiceWeights() : routing.weight().view(chosen.shape()));
      all.addAll(inputs);
      there = exchange.leave(all.toArray(new Tensor[0]))[0];
    }

    @Override
    public int parts() {
      return 1;
    }

    @Override
    public Dispatched arrive(int part) {
      Tensor chosen = numbers.arrived();
      Tensor[] arrived = exchange.arrive(0, there);
      tie = arrived[arrived.length - 1];
      Routing local = byToken ? ofTokens(chosen, arrived[0]) : ofExperts(chosen, arrived[0]);
      return new Dispatched(List.of(arrived).subList(1, arrived.length - 1), local);
    }

    private Routing ofTokens(Tensor chosen, Tensor weight) {
      Tensor number = chosen.sub(new Scalar(own.first()));
      Tensor others = number.lt(ZERO).logical_or(number.ge(new Scalar(own.count())));
      number = number.masked_fill(others, NONE);
      return capacity > 0
          ? Routing.padded(number, weight, own.count(), capacity * block.size())
          : Routing.ofChoices(number, weight, own.count());
    }

    /** From [n E, C], each rank's tokens numbered by themselves. */
    private Routing ofExperts(Tensor chosen, Tensor weight) {
      int ranks = block.size();
      Tensor first = torch.arange(new Scalar(ranks), chosen.options()).mul_(new Scalar(tokens));
      Tensor token = mine(chosen);
      token = token.add(first.view(1, ranks, 1)).masked_fill(token.lt(ZERO), NONE);
      return Routing.ofExpertChoices(
          token.view(own.count(), -1),
          mine(weight).reshape(own.count(), ranks * capacity),
          tokens * ranks);
    }

    /** [n E, C] of all ranks to [own experts, n, C]. */
    private Tensor mine(Tensor all) {
      return all.view(block.size(), -1, capacity)
          .narrow(1, own.first(), own.count())
          .transpose(0, 1)
          .contiguous();
    }

    @Override
    public void giveBack(int part, List<Tensor> sums) {
      back = exchange.giveBack(0, tie, sums);
    }

    @Override
    public List<Tensor> finish() {
      return List.of(exchange.finish(new Tensor[][] {back}));
    }
  }
}
