package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.Gates;
import moe4j.parallel.Layout;
import moe4j.testing.Seeds;
import moe4j.transformer.ParameterScope;
import org.bytedeco.javacpp.PointerScope;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Every gate over every layout with every dispatcher is the layer on one rank. */
public final class MoeRanksTest {
  private static final int HIDDEN = 8;
  private static final int EXPERTS = 8;

  private static final List<String> ROUTERS =
      List.of(
          "--moe-aux-loss-coeff 0.3 --moe-z-loss-coeff 0.05 --swiglu",
          "--moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.3"
              + " --moe-input-jitter-eps 0.3",
          "--moe-aux-loss-coeff 0.3 --moe-expert-capacity-factor 0.7",
          "--moe-expert-capacity-factor 0.7 --moe-token-drop-policy position --relu",
          "--moe-aux-loss-coeff 0.3 --moe-expert-capacity-factor 0.7"
              + " --moe-pad-expert-input-to-capacity",
          "--moe-expert-capacity-factor 1.5 --moe-token-drop-policy position"
              + " --moe-pad-expert-input-to-capacity",
          "--moe-router-force-load-balancing --moe-z-loss-coeff 0.05 --moe-router-topk 3",
          "--moe-router-score-function sigmoid --moe-router-enable-expert-bias"
              + " --moe-router-bias-update-rate 0.1 --moe-router-num-groups 2"
              + " --moe-router-group-topk 1",
          "--add-expert-bias --moe-router-topk 1 --moe-router-pre-softmax"
              + " --moe-aux-loss-coeff 0.1 --relu",
          "--moe-shared-expert-intermediate-size 12 --moe-shared-expert-gate"
              + " --moe-aux-loss-coeff 0.1",
          "--balance-strategy gshard --moe-pad-expert-input-to-capacity"
              + " --moe-expert-capacity-factor 0.6",
          "--balance-strategy moe4j.moe.UserGate");

  /** Ranks, TP, EP, ETP, and whether tokens are sliced between blocks. */
  private static final Object[][] LAYOUTS = {
    {2, 2, 1, 1, false},
    {2, 2, 1, 1, true},
    {2, 1, 1, 1, false},
    {2, 1, 2, 1, false},
    {4, 1, 4, 1, false},
    {2, 1, 1, 2, false},
    {2, 2, 1, 2, true},
    {4, 2, 2, 1, false},
    {4, 2, 2, 2, true},
    {4, 1, 2, 2, false},
    {8, 2, 2, 1, true},
    {8, 2, 2, 2, false},
    {8, 2, 4, 1, true},
  };

  private static List<String> dispatchers(int ep, int etp) {
    List<String> dispatchers = new ArrayList<>();
    dispatchers.add("");
    if (ep * etp > 1) {
      dispatchers.add("--moe-token-dispatcher-type allgather");
    }
    for (int parts = 2; parts <= ep; parts++) {
      dispatchers.add("--moe-a2a-overlap-degree " + parts);
    }
    return dispatchers;
  }

  private static List<String> gates() {
    List<String> gates = new ArrayList<>(ROUTERS);
    for (GateSpec gate : Gates.all()) {
      Integer only = gate.choice().only();
      int k = only != null ? only : gate.limit() == GateSpec.Limit.SHARE ? 3 : 2;
      String filled =
          gate.limit() == GateSpec.Limit.FILLED ? " --moe-expert-capacity-factor 1.5" : "";
      gates.add("--balance-strategy " + gate.name() + " --moe-router-topk " + k + filled);
    }
    return gates;
  }

  @DataProvider
  Object[][] layers() {
    List<Object[]> cases = new ArrayList<>();
    int turn = 0;
    int third = 0;
    for (Object[] layout : LAYOUTS) {
      int etp = (int) layout[3];
      List<String> dispatchers = dispatchers((int) layout[2], etp);
      for (String gate : gates()) {
        if (etp > 1 && gate.contains("--add-expert-bias")) {
          continue;
        }
        // Two layouts see everything, on others each dispatcher has its turn, on eight ranks gates.
        boolean all =
            (int) layout[0] == 4
                && (int) layout[1] * (int) layout[2] == 4
                && layout[4].equals(etp == 2);
        if ((int) layout[0] == 8 && third++ % 3 != 0) {
          continue;
        }
        for (int i = 0; i < (all ? dispatchers.size() : 1); i++) {
          String dispatcher = dispatchers.get((all ? i : turn++) % dispatchers.size());
          Layout ranks = new Layout((int) layout[0], (int) layout[1], (int) layout[2], etp);
          cases.add(new Object[] {ranks, layout[4], gate, dispatcher});
        }
      }
    }
    return cases.toArray(new Object[0][]);
  }

  /** A layer of eight experts and as many channels. */
  static MoeLayer moe(String flags, ParameterScope parameters) {
    Flags.Parsed parsed =
        Flags.of(GptConfig.class, MoeConfig.class)
            .parse(
                Refusals.words(
                    ("--num-layers 1 --num-attention-heads 1 --seq-length 8 --hidden-size "
                            + HIDDEN
                            + " --num-experts "
                            + EXPERTS
                            + " --moe-ffn-hidden-size 12 --init-method-std 0.5 "
                            + flags)
                        .strip()));
    GptConfig model = parsed.get(GptConfig.class);
    return MoeLayer.create(model.layerShape(), parsed.get(MoeConfig.class), 0, parameters);
  }

  static RankedLayer.Layer layer(String flags, ParameterScope parameters) {
    MoeLayer layer = moe(flags, parameters);
    return (x, pass) -> List.of(layer.forward(x.get(0), pass));
  }

  @Test(dataProvider = "layers")
  public void itIsTheLayerOnOneRank(
      Layout layout, boolean sequence, String gate, String dispatcher) {
    Random random = Seeds.random(MoeRanksTest.class);
    try (PointerScope scope = new PointerScope()) {
      // Dispatchers are of no consequence on one rank, overlap is refused there.
      RankedLayer.of(
              p -> layer(p.groups().world().isAlone() ? gate : gate + " " + dispatcher, p),
              random,
              layout.data(),
              new long[] {HIDDEN},
              new long[] {HIDDEN})
          .compare(layout, sequence, true);
    }
  }
}
