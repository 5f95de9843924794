package moe4j.transformer;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What layers leave behind beside the hidden state: losses, loads and figures, in the layers'
 * order. Their memory is that of the scope which is open when this is made, and not that of a
 * layer's.
 */
final class SideOutputs {
  private final PointerScope home = PointerScope.getInnerScope();
  private final List<Pass.SideLoss> losses = new ArrayList<>();
  private final List<Double> shares = new ArrayList<>();
  private final List<Pass.ExpertLoad> loads = new ArrayList<>();
  private final List<Pass.Figure> figures = new ArrayList<>();

  /**
   * Takes a loss.
   *
   * @param share what of it this rank counts, where several have computed it alike
   */
  void add(Pass.SideLoss loss, double share) {
    shares.add(share);
    losses.add(
        new Pass.SideLoss(loss.name(), loss.layer(), keep(loss.value()), loss.coefficient()));
  }

  void add(Pass.ExpertLoad load) {
    loads.add(
        new Pass.ExpertLoad(
            load.layer(),
            keep(load.tokens()),
            load.routed(),
            load.unasked() == null ? null : keep(load.unasked())));
  }

  void add(Pass.Figure figure) {
    figures.add(new Pass.Figure(figure.name(), figure.layer(), keep(figure.value().detach())));
  }

  List<Pass.SideLoss> losses() {
    return losses;
  }

  List<Pass.ExpertLoad> loads() {
    return loads;
  }

  List<Pass.Figure> figures() {
    return figures;
  }

  /**
   * A main loss and the losses here, each with its coefficient and this rank's share. Those that
   * count alike, as the layers' do, are added up first, so that they take a few operations together
   * and not a few each.
   */
  Tensor total(Tensor loss) {
    Map<Double, List<Tensor>> byWeight = new LinkedHashMap<>();
    for (int i = 0; i < losses.size(); i++) {
      Pass.SideLoss side = losses.get(i);
      byWeight
          .computeIfAbsent(side.coefficient() * shares.get(i), w -> new ArrayList<>())
          .add(side.value().to(ScalarType.Float).view());
    }
    Tensor total = loss;
    for (var alike : byWeight.entrySet()) {
      Tensor sum = torch.stack(Tensors.vector(alike.getValue())).sum();
      total = total.add(sum.mul(new Scalar(alike.getKey())));
    }
    return total;
  }

  /** Lets a tensor outlive the layer's scope in which it was made. */
  private Tensor keep(Tensor t) {
    if (home != null) {
      home.attach(t);
    } else {
      t.retainReference();
    }
    return t;
  }
}
