package moe4j.transformer;

import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Rotary positions (Su et al. 2021, RoFormer): channels 2i and 2i+1 of a pair turn by the position
 * times {@code base^(-2i/r)}, r of a head's d channels being rotated. A pair is (i, i + r/2), or
 * neighbours where interleaved.
 */
public final class RotaryEmbedding {
  private final long rotated;
  private final boolean interleaved;
  private final Tensor cos;
  private final Tensor sin;

  /**
   * What is rotated, and how.
   *
   * @param channels r, of each head: an even number
   * @param base of the frequencies
   * @param interleaved whether a pair's channels are neighbours
   * @param positions the longest sequence
   */
  public record Form(int channels, int base, boolean interleaved, int positions) {}

  /** Tables for the longest sequence, in the model's type. */
  public RotaryEmbedding(Form form, ScalarType dtype, Device device) {
    this.rotated = form.channels();
    this.interleaved = form.interleaved();
    int positions = form.positions();
    int r = Math.toIntExact(rotated);
    float[] c = new float[positions * r];
    float[] s = new float[positions * r];
    for (int p = 0; p < positions; p++) {
      for (int i = 0; i < r; i++) {
        int pair = interleaved ? i / 2 : i % (r / 2);
        double angle = p * Math.pow(form.base(), -2.0 * pair / r);
        c[p * r + i] = (float) Math.cos(angle);
        s[p * r + i] = (float) Math.sin(angle);
      }
    }
    this.cos = Scopes.keep(() -> Tensors.of(c, positions, r).to(device, dtype));
    this.sin = Scopes.keep(() -> Tensors.of(s, positions, r).to(device, dtype));
  }

  /** Cosines and sines of some positions, each [B or 1, S, 1, r]. */
  public record Angles(Tensor cos, Tensor sin) {}

  /**
   * What {@link #rotate} needs for some positions.
   *
   * @param positions int64 [B, S], or null for 0 to S - 1
   */
  public Angles at(Tensor positions, long sequence) {
    return new Angles(pick(cos, positions, sequence), pick(sin, positions, sequence));
  }

  private Tensor pick(Tensor table, Tensor positions, long sequence) {
    if (positions == null) {
      return Tensors.slice(table, 0, 0, sequence).view(1, sequence, 1, rotated);
    }
    return torch.embedding(table, positions).unsqueeze(2);
  }

  /**
   * Rotates queries or keys.
   *
   * @param x [B, S, n, d]
   * @param at what {@link #at} gave
   */
  public Tensor rotate(Tensor x, Angles at) {
    long d = x.size(3);
    if (rotated == d) {
      return turn(x, at);
    }
    TensorVector parts = x.split(new long[] {rotated, d - rotated}, 3);
    return torch.cat(new TensorVector(turn(parts.get(0), at), parts.get(1)), 3);
  }

  private Tensor turn(Tensor x, Angles at) {
    return x.mul(at.cos()).add(quarter(x).mul(at.sin()));
  }

  /** Each pair (a, b) as (-b, a). */
  private Tensor quarter(Tensor x) {
    if (!interleaved) {
      TensorVector halves = x.chunk(2, -1);
      return torch.cat(new TensorVector(halves.get(1).neg(), halves.get(0)), -1);
    }
    TensorVector pair = x.unflatten(3, -1, 2).unbind(-1);
    return torch.stack(new TensorVector(pair.get(1).neg(), pair.get(0)), -1).flatten(3, -1);
  }
}
