package moe4j.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import moe4j.checkpoint.CheckpointInfo;

/**
 * What a run writes into its checkpoints beside flags and tensors: texts by name, of a kind each.
 */
public enum RunNotes {
  /** {@link Task#lasting}. */
  LASTING,
  /** {@link Task#place}. */
  PLACE,
  /** {@link Task#facts}, which the best model's checkpoint has, too. */
  FACTS;

  private String key() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * Writes them down.
   *
   * @param extra a checkpoint's {@link CheckpointInfo#extra}
   */
  public void put(Map<String, String> notes, ObjectNode extra) {
    if (!notes.isEmpty()) {
      notes.forEach(extra.putObject(key())::put);
    }
  }

  /** Those of a checkpoint; empty where it has none of this kind. */
  public Map<String, String> of(CheckpointInfo checkpoint) {
    Map<String, String> notes = new LinkedHashMap<>();
    checkpoint
        .extra()
        .path(key())
        .properties()
        .forEach(note -> notes.put(note.getKey(), note.getValue().asText()));
    return notes;
  }
}
