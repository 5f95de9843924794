package moe4j.moe;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Random;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.gate.Capacity;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Gates;
import moe4j.moe.gate.Quota;
import moe4j.moe.gate.RouterConfig;
import moe4j.moe.gate.RouterConfig.BalanceKind;
import moe4j.moe.gate.RouterConfig.BalanceLoss;
import moe4j.moe.gate.RouterConfig.Score;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** How the flags of gates, experts and capacities agree, and what they say where they do not. */
public class MoeFlagsTest {

  private static MoeConfig parse(String line) {
    return Flags.parse(MoeConfig.class, Refusals.words(line));
  }

  @DataProvider
  public Object[][] alone() {
    return new Object[][] {
      {"--moe-router-score-function sigmoid", "num-experts"},
      {"--moe-router-topk-scaling-factor 2", "num-experts"},
      {"--moe-router-num-groups 2", "num-experts"},
      {"--moe-router-group-topk 1", "moe-router-num-groups"},
      {"--moe-router-enable-expert-bias", "num-experts"},
      {"--moe-router-bias-update-rate 0.1", "moe-router-enable-expert-bias"},
      {"--num-experts 4 --moe-router-bias-update-rate 0.1", "moe-router-enable-expert-bias"},
      {"--moe-input-jitter-eps 0.1", "num-experts"},
      {"--moe-router-force-load-balancing", "num-experts"},
      {"--moe-expert-capacity-factor 1", "num-experts"},
      {"--moe-pad-expert-input-to-capacity", "num-experts"},
      {"--moe-token-drop-policy position", "moe-expert-capacity-factor"},
      {"--num-experts 4 --moe-token-drop-policy position", "moe-expert-capacity-factor"},
      {"--moe-shared-expert-intermediate-size 8", "num-experts"},
      {"--moe-shared-expert-gate", "moe-shared-expert-intermediate-size"},
      {"--num-experts 4 --moe-shared-expert-gate", "moe-shared-expert-intermediate-size"},
      {"--add-expert-bias", "num-experts"},
      {"--moe-token-dispatcher-type allgather", "num-experts"},
      {"--moe-a2a-overlap-degree 2", "num-experts"},
      {"--moe-grouped-products libtorch", "num-experts"},
      {"--fmoefy", "num-experts"},
      {"--top-k 3", "num-experts"},
      {"--hidden-hidden-size 3", "num-experts"},
      {"--balance-strategy naive", "num-experts"},
      {"--balance-loss-weight 2", "balance-strategy"},
      {"--num-experts 4 --balance-loss-weight 2", "balance-strategy"},
    };
  }

  @Test(dataProvider = "alone")
  public void flagsWithoutEffectAreRefused(String line, String needed) {
    String[] words = line.split(" ");
    String flag =
        words[words.length - 1].startsWith("--")
            ? words[words.length - 1]
            : words[words.length - 2];
    assertEquals(Refusals.of(MoeConfig.class, line), flag + " needs --" + needed);
  }

  @DataProvider
  public Object[][] impossible() {
    String padNeeds = "--moe-pad-expert-input-to-capacity needs --moe-expert-capacity-factor";
    String together = "--moe-router-num-groups and --moe-router-group-topk come together";
    String biasNeeds =
        "--moe-router-enable-expert-bias needs --moe-router-score-function sigmoid or sqrtsoftplus";
    return new Object[][] {
      {"--num-experts -3", "--num-experts -3 is not positive"},
      {"--top-k 5", "--moe-router-topk 5 is not between 1 and --num-experts 4"},
      {"--hidden-hidden-size 0", "--moe-ffn-hidden-size 0 is not positive"},
      {
        "--moe-shared-expert-intermediate-size 0",
        "--moe-shared-expert-intermediate-size 0 is not positive"
      },
      {"--moe-expert-capacity-factor 0", "--moe-expert-capacity-factor 0.0 is not positive"},
      {"--moe-expert-capacity-factor -1", "--moe-expert-capacity-factor -1.0 is not positive"},
      {"--moe-pad-expert-input-to-capacity", padNeeds},
      {"--balance-strategy expert_choice --moe-pad-expert-input-to-capacity", padNeeds},
      {
        "--balance-strategy naive --balance-loss-weight -1",
        "--balance-loss-weight -1.0 is negative"
      },
      {
        "--balance-strategy naive --balance-loss-weight 0.1",
        "--balance-loss-weight has no effect on --balance-strategy naive, which has no loss"
      },
      {
        "--moe-aux-loss-coeff 0.1 -0.2 --moe-router-load-balancing-type aux_loss seq_aux_loss",
        "--moe-aux-loss-coeff -0.2 is negative"
      },
      {
        "--moe-router-load-balancing-type aux_loss seq_aux_loss --moe-aux-loss-coeff 0.1",
        "--moe-router-load-balancing-type names 2 losses, --moe-aux-loss-coeff has 1 weights"
      },
      {
        "--moe-aux-loss-coeff 0.1 0.2 0.3",
        "--moe-router-load-balancing-type names 1 losses, --moe-aux-loss-coeff has 3 weights"
      },
      {
        "--moe-router-load-balancing-type aux_loss aux_loss --moe-aux-loss-coeff 0.1 0.1",
        "--moe-router-load-balancing-type aux_loss aux_loss: several types must differ, and none cannot be one of them"
      },
      {
        "--moe-router-load-balancing-type none aux_loss --moe-aux-loss-coeff 0.1 0.1",
        "--moe-router-load-balancing-type none aux_loss: several types must differ, and none cannot be one of them"
      },
      {
        "--moe-router-load-balancing-type none --moe-aux-loss-coeff 0.1",
        "--moe-aux-loss-coeff has no effect with --moe-router-load-balancing-type none"
      },
      {"--moe-router-enable-expert-bias", biasNeeds},
      {"--moe-router-enable-expert-bias --moe-router-pre-softmax", biasNeeds},
      {
        "--moe-router-enable-expert-bias --moe-router-score-function sigmoid"
            + " --moe-router-bias-update-rate -1",
        "--moe-router-bias-update-rate -1.0 is negative"
      },
      {
        "--moe-router-topk-scaling-factor 0", "--moe-router-topk-scaling-factor 0.0 is not positive"
      },
      {"--moe-input-jitter-eps -0.1", "--moe-input-jitter-eps -0.1 is not in [0, 1)"},
      {"--moe-input-jitter-eps 1", "--moe-input-jitter-eps 1.0 is not in [0, 1)"},
      {"--moe-router-num-groups 2", together},
      {"--moe-router-group-topk 2", together},
      {
        "--moe-router-num-groups 3 --moe-router-group-topk 1",
        "--num-experts 4 cannot be divided into --moe-router-num-groups 3"
      },
      {
        "--moe-router-num-groups 0 --moe-router-group-topk 1",
        "--num-experts 4 cannot be divided into --moe-router-num-groups 0"
      },
      {
        "--moe-router-num-groups 2 --moe-router-group-topk 3",
        "--moe-router-group-topk 3 is not between 1 and --moe-router-num-groups 2"
      },
      {
        "--moe-router-num-groups 2 --moe-router-group-topk 0",
        "--moe-router-group-topk 0 is not between 1 and --moe-router-num-groups 2"
      },
      {
        "--moe-router-num-groups 2 --moe-router-group-topk 2 --top-k 3",
        "--moe-router-topk 3 cannot be taken evenly of --moe-router-group-topk 2 groups of 2"
      },
      {
        "--moe-router-num-groups 2 --moe-router-group-topk 1 --top-k 3",
        "--moe-router-topk 3 cannot be taken evenly of --moe-router-group-topk 1 groups of 2"
      },
      {"--top-k 3 --moe-router-topk 4", "--top-k 3 and --moe-router-topk 4 mean the same"},
      {
        "--hidden-hidden-size 3 --moe-ffn-hidden-size 4",
        "--hidden-hidden-size 3 and --moe-ffn-hidden-size 4 mean the same"
      },
      {"--moe-a2a-overlap-degree 0", "--moe-a2a-overlap-degree 0 is not positive"},
      {
        "--moe-a2a-overlap-degree 2 --moe-token-dispatcher-type allgather",
        "--moe-a2a-overlap-degree 2 needs --moe-token-dispatcher-type alltoall, not allgather"
      },
      {"--balance-strategy gshard --top-k 1", "--balance-strategy gshard needs --top-k 2, not 1"},
      {"--balance-strategy switch", "--balance-strategy switch needs --top-k 1, not 2"},
      {
        "--balance-strategy naive --moe-expert-capacity-factor 1",
        "--moe-expert-capacity-factor has no effect on --balance-strategy naive"
      },
      {
        "--balance-strategy swipe --moe-expert-capacity-factor 1",
        "--moe-expert-capacity-factor has no effect on --balance-strategy swipe"
      },
      {
        "--balance-strategy gshard --moe-expert-capacity-factor 1 --moe-token-drop-policy position",
        "--moe-token-drop-policy has no effect on --balance-strategy gshard"
      },
      {
        "--balance-strategy nonsense",
        "--balance-strategy takes "
            + String.join(", ", Gates.names())
            + " or the name of a class on the class path, not 'nonsense'"
      },
      {
        "--balance-strategy java.lang.String",
        "--balance-strategy java.lang.String is a class that does not implement moe4j.moe.gate.Gate$Factory"
      },
      {
        "--balance-strategy java.lang.Integer",
        "--balance-strategy java.lang.Integer is a class that does not implement moe4j.moe.gate.Gate$Factory"
      },
      {
        "--balance-strategy moe4j.moe.MoeFlagsTest$Hidden",
        "--balance-strategy moe4j.moe.MoeFlagsTest$Hidden: the class has to be public, and a module that it is in has to open its package"
      },
    };
  }

  /** A gate's factory that no other package can make. */
  static final class Hidden implements Gate.Factory {
    public Hidden() {}

    @Override
    public Gate create(Gate.Shape shape, ParameterScope parameters) {
      throw new AssertionError("a gate that cannot be reached was made");
    }
  }

  @Test(dataProvider = "impossible")
  public void whatCannotBeIsRefused(String flags, String sentence) {
    String experts = flags.startsWith("--num-experts") ? "" : "--num-experts 4 ";
    assertEquals(Refusals.of(MoeConfig.class, experts + flags), sentence);
  }

  /** Each of the router's flags is one that another gate would not heed. */
  @Test
  public void aStrategyTakesNoneOfTheRoutersFlags() {
    for (String flag :
        new String[] {
          "--moe-router-pre-softmax",
          "--moe-router-load-balancing-type none",
          "--moe-aux-loss-coeff 0.1",
          "--moe-z-loss-coeff 0",
          "--moe-router-score-function sigmoid",
          "--moe-router-topk-scaling-factor 1",
          "--moe-router-num-groups 2 --moe-router-group-topk 1",
          "--moe-router-score-function sigmoid --moe-router-enable-expert-bias",
          "--moe-input-jitter-eps 0",
          "--moe-router-force-load-balancing",
        }) {
      assertEquals(
          Refusals.of(MoeConfig.class, "--num-experts 4 --balance-strategy noisy " + flag),
          "--balance-strategy noisy replaces Megatron's router: its flags (--moe-router-...,"
              + " --moe-aux-loss-coeff, --moe-z-loss-coeff, --moe-input-jitter-eps) have no effect"
              + " on it",
          flag);
    }
  }

  @Test
  public void aliases() {
    MoeConfig config = parse("--num-experts 8 --top-k 3 --hidden-hidden-size 20");
    assertEquals(config, parse("--num-experts 8 --moe-router-topk 3 --moe-ffn-hidden-size 20"));
    assertEquals(config.moeRouterTopk(), 3);
    assertEquals((int) config.moeFfnHiddenSize(), 20);
    assertEquals(parse("--num-experts 8 --top-k 3 --moe-router-topk 3").moeRouterTopk(), 3);
    assertEquals(
        Flags.parse(MoeConfig.class, Flags.commandLine(config).toArray(new String[0])), config);
  }

  @Test
  public void fmoefyDividesTheHiddenSize() {
    GptConfig model =
        Models.config(
            "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 16"
                + " --ffn-hidden-size 200");
    assertEquals(parse("--num-experts 8 --fmoefy").expertHiddenSize(model.layerShape()), 100);
    assertEquals(
        parse("--num-experts 8 --fmoefy --top-k 5").expertHiddenSize(model.layerShape()), 40);
    assertEquals(parse("--num-experts 8 --top-k 5").expertHiddenSize(model.layerShape()), 200);
    MoeConfig own = parse("--num-experts 8 --fmoefy --top-k 3 --hidden-hidden-size 70");
    assertEquals(own.expertHiddenSize(model.layerShape()), 70);
    MoeConfig thirds = parse("--num-experts 8 --fmoefy --top-k 3");
    assertEquals(
        expectThrows(
                IllegalArgumentException.class, () -> thirds.expertHiddenSize(model.layerShape()))
            .getMessage(),
        "--fmoefy: --ffn-hidden-size 200 is no multiple of the 3 experts a token goes to (give"
            + " --moe-ffn-hidden-size if that is meant)");
  }

  @Test
  public void lossesHaveCoefficientsInTheirOrder() {
    RouterConfig router =
        parse(
                "--num-experts 8 --moe-router-load-balancing-type global_aux_loss aux_loss"
                    + " --moe-aux-loss-coeff 0.5 1e-3 --moe-z-loss-coeff 0.25")
            .router();
    assertEquals(
        router.balance(),
        List.of(
            new BalanceLoss(BalanceKind.GLOBAL_AUX_LOSS, 0.5),
            new BalanceLoss(BalanceKind.AUX_LOSS, 1e-3)));
    assertEquals(router.zLoss(), 0.25);
    assertEquals(
        parse("--num-experts 8").router().balance(),
        List.of(new BalanceLoss(BalanceKind.AUX_LOSS, 0)));
    assertEquals(
        parse("--num-experts 8 --moe-router-load-balancing-type none").router().balance(),
        List.of());
    assertEquals(router.score(), Score.LOGITS);
    assertEquals(parse("--num-experts 8 --moe-router-pre-softmax").router().score(), Score.SOFTMAX);
    for (Score score : new Score[] {Score.SIGMOID, Score.SQRTSOFTPLUS}) {
      String name = score.name().toLowerCase(java.util.Locale.ROOT);
      String line = "--num-experts 8 --moe-router-score-function " + name;
      assertEquals(parse(line).router().score(), score);
      assertEquals(parse(line + " --top-k 1").moeRouterTopk(), 1);
    }
  }

  @Test
  public void capacities() {
    assertNull(parse("--num-experts 8").capacity());
    assertEquals(parse("--num-experts 8").room().quota(), new Quota(1.2, 2.4, false));
    String factor = "--num-experts 8 --moe-expert-capacity-factor 1.5";
    assertEquals(parse(factor).capacity(), new Capacity(1.5, Capacity.Policy.PROBS, false));
    assertEquals(
        parse(factor + " --moe-token-drop-policy position --moe-pad-expert-input-to-capacity")
            .capacity(),
        new Capacity(1.5, Capacity.Policy.POSITION, true));
    String gshard = " --balance-strategy gshard --moe-pad-expert-input-to-capacity";
    assertEquals(parse(factor + gshard).room().quota(), new Quota(1.5, 1.5, true));
    assertEquals(parse("--num-experts 8" + gshard).room().quota(), new Quota(1.2, 2.4, true));
  }

  @DataProvider
  public Object[][] warnings() {
    String unbalanced =
        "--num-experts 8%s with nothing that balances their load: a few experts may get"
            + " all tokens (--moe-aux-loss-coeff 1e-2 is usual)";
    String causal =
        "--balance-strategy expert_choice: whether an expert takes a token depends on"
            + " later tokens of its sequence, so the loss of a causal model is too good";
    String naive = unbalanced.formatted(" --balance-strategy naive");
    String noisy = unbalanced.formatted(" --balance-strategy noisy");
    String aux = "--moe-router-load-balancing-type";
    return new Object[][] {
      {"", unbalanced.formatted("")},
      {"--moe-z-loss-coeff 1e-3", unbalanced.formatted("")},
      {aux + " none", unbalanced.formatted("")},
      {"--moe-aux-loss-coeff 1e-2", null},
      {aux + " aux_loss seq_aux_loss --moe-aux-loss-coeff 0 1e-2", null},
      {"--moe-router-enable-expert-bias --moe-router-score-function sigmoid", null},
      {"--moe-router-force-load-balancing", null},
      {"--top-k 8", null},
      {"--balance-strategy naive", naive},
      {"--balance-strategy noisy", null},
      {"--balance-strategy noisy --balance-loss-weight 0", noisy},
      {"--balance-strategy gshard", null},
      {"--balance-strategy switch --top-k 1", null},
      {"--balance-strategy swipe", null},
      {"--balance-strategy expert_choice", causal},
      {"--balance-strategy moe4j.moe.UserGate", null},
    };
  }

  @Test(dataProvider = "warnings")
  public void whoTrainsIsWarned(String flags, String warning) {
    assertEquals(
        parse(("--num-experts 8 " + flags).strip()).warnings(),
        warning == null ? List.of() : List.of(warning));
    assertEquals(MoeConfig.dense().warnings(), List.of());
  }

  /** A gate named by its class is made, gets its share of the loss's weight, and routes. */
  @Test
  public void aUsersGateMayBeNamed() {
    Random random = Seeds.random(MoeFlagsTest.class);
    String flags = "--num-experts 6 --top-k 3 --balance-loss-weight 0.3 --balance-strategy ";
    try (PointerScope scope = new PointerScope();
        TestLayer layer = TestLayer.of(random, flags + UserGate.class.getName())) {
      Pass pass = TestLayer.training(2);
      layer.layer.forward(Models.normals(random, 2, 5, 8), pass).sum().backward();
      assertEquals(pass.losses().get(0).name(), "my_loss");
      assertEquals(pass.losses().get(0).layer(), TestLayer.NUMBER);
      assertEquals(pass.losses().get(0).coefficient(), 0.1, 1e-12);
      assertTrue(layer.parameter("mlp.router.mine").grad().defined());
    }
  }
}
