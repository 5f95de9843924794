package moe4j.moe.dispatch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.moe.gate.Routing;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.RowExchange;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Sends each row to the rank of its expert, with its weight, and the expert's output back. Where
 * several ranks share an expert's matrices, each gets the others' rows too, and their results are
 * summed. Rows may go in several parts, by the distance between ranks (FasterMoE, He et al. 2022):
 * the first has this rank's own.
 */
public final class AllToAll implements TokenDispatcher {
  /** Why a step is not captured. */
  public static final String ASKS =
      "--moe-token-dispatcher-type alltoall asks the GPU how many rows go to which rank, unless every"
          + " expert is padded (--moe-expert-capacity-factor and"
          + " --moe-pad-expert-input-to-capacity); allgather does not";

  private final Groups groups;
  private final int experts;
  private final int parts;

  AllToAll(Groups groups, int experts, int parts) {
    this.groups = groups;
    this.experts = experts;
    this.parts = parts;
  }

  @Override
  public Dispatch dispatch(List<Tensor> inputs, Routing routing) {
    return new Way(inputs, routing);
  }

  /** A part's rows: those of some ranks' experts. */
  private static final class Part implements Exchange.Route {
    private final Group group;
    private final long[] starts;
    private final long[] sent;
    private final long[] got;

    /**
     * @param starts where each rank's rows begin among all
     * @param sent to each rank in this part
     * @param got of each rank
     */
    Part(Group group, long[] starts, long[] sent, long[] got) {
      this.group = group;
      this.starts = starts;
      this.sent = sent;
      this.got = got;
    }

    /** The rows of neighbouring ranks, from and to. */
    private List<long[]> stretches() {
      List<long[]> stretches = new ArrayList<>();
      for (int p = 0; p < sent.length; p++) {
        long from = starts[p];
        long[] last = stretches.isEmpty() ? null : stretches.get(stretches.size() - 1);
        if (sent[p] > 0 && last != null && last[1] == from) {
          last[1] = from + sent[p];
        } else if (sent[p] > 0) {
          stretches.add(new long[] {from, from + sent[p]});
        }
      }
      return stretches;
    }

    @Override
    public Tensor take(Tensor whole) {
      List<Tensor> pieces = new ArrayList<>();
      for (long[] stretch : stretches()) {
        pieces.add(whole.narrow(0, stretch[0], stretch[1] - stretch[0]));
      }
      if (pieces.isEmpty()) {
        return whole.narrow(0, 0, 0).contiguous();
      }
      return pieces.size() == 1
          ? pieces.get(0).contiguous()
          : torch.cat(new TensorVector(pieces.toArray(new Tensor[0])), 0);
    }

    @Override
    public void put(Tensor part, Tensor whole) {
      long at = 0;
      for (long[] stretch : stretches()) {
        long rows = stretch[1] - stretch[0];
        whole.narrow(0, stretch[0], rows).copy_(part.narrow(0, at, rows));
        at += rows;
      }
    }

    @Override
    public Exchange.Moving out(Tensor part) {
      return move(part, got, sent);
    }

    @Override
    public Exchange.Moving back(Tensor rows) {
      return move(rows, sent, got);
    }

    @Override
    public boolean overwrites() {
      return false;
    }

    private Exchange.Moving move(Tensor input, long[] outputRows, long[] inputRows) {
      Tensor output = Tensors.emptyRows(input, Arrays.stream(outputRows).sum());
      return new Exchange.Moving(output, group.allToAll(output, input, outputRows, inputRows));
    }
  }

  private final class Way implements Dispatch {
    private final Routing routing;
    private final RowCounts counts;
    private final Exchange exchange;
    private final Tensor[][] there;
    private final Tensor[][] back = new Tensor[parts][];
    private final Tensor[] ties = new Tensor[parts];

    Way(List<Tensor> inputs, Routing routing) {
      this.routing = routing;
      counts = RowCounts.of(routing, experts, groups);
      boolean[] all = new boolean[groups.expert().size()];
      Arrays.fill(all, true);
      long[] starts = new long[all.length + 1];
      long[] sent = counts.sent(all);
      for (int p = 0; p < all.length; p++) {
        starts[p + 1] = starts[p] + sent[p];
      }
      List<Exchange.Route> routes = new ArrayList<>();
      for (int i = 0; i < parts; i++) {
        routes.add(
            new Part(
                groups.expert(),
                starts,
                counts.sent(counts.peers(i, parts, 1)),
                counts.got(from(i), groups.expertTensor().rank())));
      }
      exchange = new Exchange(routes, routing.token().numel());
      List<Tensor> rows = new ArrayList<>();
      rows.add(routing.weight());
      Dispatched own = new Dispatched(inputs, routing);
      for (int k = 0; k < inputs.size(); k++) {
        rows.add(own.rows(k));
      }
      there = exchange.leave(rows.toArray(new Tensor[0]));
    }

    /** Whose rows arrive in a part. */
    private boolean[] from(int part) {
      return counts.peers(part, parts, -1);
    }

    @Override
    public int parts() {
      return parts;
    }

    @Override
    public Dispatched arrive(int part) {
      Tensor[] arrived = exchange.arrive(part, there[part]);
      ties[part] = arrived[arrived.length - 1];
      long[] sizes = counts.gathered(from(part));
      List<Tensor> all = new ArrayList<>();
      for (int k = 0; k < arrived.length - 1; k++) {
        all.add(RowExchange.gather(arrived[k], sizes, groups.expertTensor()));
      }
      Routing sorted = counts.sorted(from(part), all.get(0));
      return new Dispatched(all.subList(1, all.size()), sorted, part, parts);
    }

    @Override
    public void giveBack(int part, List<Tensor> sums) {
      long[] sizes = counts.gathered(from(part));
      List<Tensor> own = new ArrayList<>();
      for (Tensor rows : sums) {
        own.add(RowExchange.reduceScatter(rows, sizes, groups.expertTensor()));
      }
      back[part] = exchange.giveBack(part, ties[part], own);
    }

    @Override
    public List<Tensor> finish() {
      List<Tensor> outputs = new ArrayList<>();
      for (Tensor rows : exchange.finish(back)) {
        outputs.add(Dispatched.gather(rows, routing));
      }
      return outputs;
    }
  }
}
