package moe4j.moe;

import moe4j.kernels.Tensors;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.Mappings;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How the tensor-parallel ranks share out the tokens of a layer with experts: of every sequence
 * each has a part, whether the layer is given that part alone (sequence parallelism) or all of
 * them. Routes are those of all tokens.
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
    if (ranks.isAlone()) {
      return input.flatten(0, -2);
    }
    long tokens = input.dim() == 3 ? input.size(1) : -1;
    if (tokens < 0 || (!given && tokens % ranks.size() != 0)) {
      throw new IllegalArgumentException(
          "--tensor-model-parallel-size %d: ranks share out the tokens of [B, S, h], not of %s"
              .formatted(ranks.size(), Tensors.shape(input)));
    }
    return (given ? input : Mappings.scatter(input, ranks)).flatten(0, 1);
  }

  /** What the layer gives of its rank's tokens' outputs, [T, d]: shaped as its input, flat. */
  Tensor output(Tensor own, Tensor input) {
    if (ranks.isAlone() || given) {
      return own;
    }
    Tensor parts = own.view(input.size(0), -1, own.size(1));
    return Mappings.unite(parts, ranks).flatten(0, 1);
  }

  /** The routing of all tokens. */
  Routing route(Gate gate, Tensor own, Tensor input, Pass pass) {
    if (ranks.isAlone()) {
      return gate.route(own, pass);
    }
    long sequences = input.size(0);
    if (gate.takesSlices()) {
      return gate.route(own, pass.ofSlices(ranks, sequences));
    }
    Tensor all = Mappings.gather(own.view(sequences, -1, own.size(1)), ranks);
    return gate.route(all.flatten(0, 1), pass.ofCopies(ranks));
  }

  /** Which of all tokens a mask of those that the layer is given leaves out: bool [T]. */
  Tensor left(TokenMask mask, Tensor input) {
    Tensor left = mask.left();
    if (ranks.isAlone() || !given) {
      return left;
    }
    Tensor own = left.to(ScalarType.Float).view(input.size(0), -1, 1);
    return Mappings.gather(own, ranks).flatten().gt(new Scalar(0.5));
  }

  /** This rank's tokens' routes of all. */
  Routing ownRoutes(Routing all, Tensor input) {
    return ranks.isAlone() ? all : all.part(input.size(0), ranks.rank(), ranks.size());
  }
}
