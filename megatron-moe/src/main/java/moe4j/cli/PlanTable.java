package moe4j.cli;

import java.util.Locale;
import moe4j.plan.Cluster;
import moe4j.plan.Gpu;
import moe4j.plan.MemoryEstimate;
import moe4j.plan.PlannedModel;
import moe4j.plan.Planner.Candidate;

/** The candidates of a plan, a line each. */
record PlanTable(PlannedModel model, Cluster cluster) {
  private static final String[] COLUMNS =
      ("TP SP DP EP ETP EDP dist-opt mbs GiB params grads optim activ other ms/step compute tp-comm"
              + " ep-comm dp-comm update tokens/s MFU%")
          .split(" ", -1);

  private static final int[] WIDTHS = {
    3, 3, 4, 3, 3, 4, 8, 3, 6, 6, 6, 6, 6, 6, 8, 8, 7, 7, 7, 7, 10, 5
  };

  /** The place in the order, then the columns. */
  String head() {
    return "rank" + line((Object[]) COLUMNS) + "  longest part";
  }

  private static String line(Object... cells) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < cells.length; i++) {
      String cell = String.valueOf(cells[i]);
      line.append(" ".repeat(Math.max(1, WIDTHS[i] + 1 - cell.length()))).append(cell);
    }
    return line.toString();
  }

  /** Layout, GiB of the fullest rank and milliseconds of a step. */
  String row(Candidate candidate) {
    var layout = candidate.layout();
    var time = candidate.time();
    MemoryEstimate memory = candidate.memory();
    boolean experts = model.hasExperts();
    double tokens = (double) layout.globalBatch() * model.costs().tokens();
    return line(
            layout.tp(),
            layout.sequenceParallel() ? "yes" : "no",
            layout.dp(),
            experts ? layout.ep() : "-",
            experts ? layout.etp() : "-",
            experts ? layout.edp() : "-",
            layout.distributedOptimizer() ? "yes" : "no",
            layout.microBatch(),
            gib(memory.total()),
            gib(memory.parameters()),
            gib(memory.gradients()),
            gib(memory.optimizer()),
            gib(memory.activations()),
            gib(memory.buffers() + memory.constant()),
            fixed(1e3 * time.seconds()),
            fixed(1e3 * time.work().seconds()),
            fixed(1e3 * time.tensor()),
            fixed(1e3 * time.exchange()),
            fixed(1e3 * time.exposed()),
            fixed(1e3 * time.optimizer()),
            Math.round(tokens / time.seconds()),
            fixed(time.utilisation(model, cluster)))
        + "  "
        + time.bound();
  }

  private static String gib(double bytes) {
    return fixed(bytes / Gpu.GIB);
  }

  private static String fixed(double value) {
    return String.format(Locale.ROOT, "%.1f", value);
  }
}
