package moe4j.data;

import java.util.EnumMap;
import java.util.Map;

/** Where the text comes from. */
public sealed interface DataSource {
  /** {@code --mock-data}: sequences that count, without a file; each part takes a third. */
  record Mock() implements DataSource {}

  /** One blend, each of whose datasets is split into the three parts. */
  record Shared(Blend blend, Split split) implements DataSource {}

  /** A blend for each part; a part that is absent has no data. */
  record PerPart(Map<Part, Blend> blends) implements DataSource {
    public PerPart {
      blends = new EnumMap<>(blends);
    }
  }
}
