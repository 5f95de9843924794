package moe4j.moe;

import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.Mappings;
import moe4j.tensor.Tensors;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How the tensor-parallel ranks share out the tokens of a layer with experts: each has a part of
 * them, whether the layer is given that part alone (sequence parallelism) or all of them. Routes
 * are those of all tokens.
 *
 * @param ranks that share them
 * @param given whether the layer is given its part alone
 */
record TokenSlices(Group ranks, boolean given) {

  static TokenSlices of(Groups groups) {
    return new TokenSlices(groups.tensor(), groups.slicesTokens());
  }

  /** This rank's tokens, [T, ...], of what the layer is given, [..., x]. */
  Tensor own(Tensor input) {
    Tensor tokens = input.flatten(0, -2);
    if (ranks.isAlone() || given) {
      return tokens;
    }
    if (tokens.size(0) % ranks.size() != 0) {
      throw new IllegalArgumentException(
          "--tensor-model-parallel-size %d does not divide the %d tokens of %s, which ranks share out"
              .formatted(ranks.size(), tokens.size(0), Tensors.shape(input)));
    }
    return Mappings.scatter(tokens.unsqueeze(0), ranks).squeeze(0);
  }

  /** Whether the layer gives its rank's tokens' outputs as they are. */
  boolean givesOwn() {
    return ranks.isAlone() || given;
  }

  /** What the layer gives of its rank's tokens' outputs, [T, d]: those of its input's tokens. */
  Tensor output(Tensor own) {
    return givesOwn() ? own : Mappings.unite(own.unsqueeze(0), ranks).squeeze(0);
  }

  /** The routing of all tokens. */
  Routing route(Gate gate, Tensor own, Pass pass) {
    if (ranks.isAlone()) {
      return gate.route(own, pass);
    }
    return gate.takesSlices()
        ? gate.route(own, pass.ofSlices(ranks))
        : gate.route(all(own), pass.ofCopies(ranks));
  }

  /** Which of all tokens a mask of those that the layer is given leaves out: bool [T]. */
  Tensor left(TokenMask mask) {
    Tensor left = mask.left();
    if (ranks.isAlone() || !given) {
      return left;
    }
    Tensor own = left.to(ScalarType.Float).view(-1, 1);
    return all(own).flatten().gt(new Scalar(0.5));
  }

  private Tensor all(Tensor own) {
    return Mappings.gather(own.unsqueeze(0), ranks).squeeze(0);
  }

  /** This rank's tokens' routes of all. */
  Routing ownRoutes(Routing all) {
    return ranks.isAlone() ? all : all.part(ranks.rank(), ranks.size());
  }
}
