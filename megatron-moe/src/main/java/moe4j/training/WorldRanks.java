package moe4j.training;

import java.io.IOException;
import java.util.List;
import moe4j.checkpoint.Ranks;
import moe4j.parallel.RankLostException;
import moe4j.parallel.World;

/** The ranks of a world, as checkpoints know them. */
record WorldRanks(World world) implements Ranks {
  @Override
  public int rank() {
    return world.rank();
  }

  @Override
  public int size() {
    return world.size();
  }

  @Override
  public List<byte[]> exchange(byte[] own) throws IOException {
    try {
      return world.exchange(own);
    } catch (RankLostException e) {
      throw new IOException(e.getMessage(), e);
    }
  }
}
