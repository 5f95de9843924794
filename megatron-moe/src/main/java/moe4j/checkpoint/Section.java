package moe4j.checkpoint;

import com.fasterxml.jackson.annotation.JsonValue;
import java.util.Locale;

/**
 * What a file of a checkpoint is for. Reading is by section, so that whoever needs the weights
 * alone never touches the optimizer's several times larger files.
 */
public enum Section {
  MODEL,
  OPTIMIZER;

  /** The name in file names and in the manifest. */
  @JsonValue
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  String fileName(int index, int count) {
    return String.format(Locale.ROOT, "%s_%05d-of-%05d.safetensors", label(), index, count);
  }
}
