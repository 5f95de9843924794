package moe4j.moe;

import moe4j.kernels.experts.TopK;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/** A gate as a user writes it and names it on the command line; its loss is the largest logit. */
public final class UserGate implements Gate.Factory {
  @Override
  public Gate create(Gate.Shape shape, ParameterScope parameters) {
    Tensor weight =
        parameters.weight("mine", shape.initMethodStd(), shape.experts(), shape.hiddenSize());
    return (hidden, pass) -> {
      TopK top = TopK.of(hidden.mm(weight.t()), shape.topk());
      if (pass.isTraining()) {
        Tensor loss = top.values().max();
        pass.addLoss(new Pass.SideLoss("my_loss", shape.layer(), loss, shape.lossWeight()));
      }
      return Routing.ofChoices(top.indices(), top.values().softmax(1), shape.experts());
    };
  }
}
