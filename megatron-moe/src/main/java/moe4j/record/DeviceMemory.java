package moe4j.record;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A GPU's memory as libtorch's allocator counts it, in bytes: what tensors take, and what the
 * allocator holds of the driver for them; now, and at most since the process began.
 */
public record DeviceMemory(long allocated, long maxAllocated, long reserved, long maxReserved) {

  /** By the names they have in {@code metrics.jsonl}. */
  Map<String, Number> values() {
    Map<String, Number> values = new LinkedHashMap<>();
    values.put("memory allocated (bytes)", allocated);
    values.put("memory max allocated (bytes)", maxAllocated);
    values.put("memory reserved (bytes)", reserved);
    values.put("memory max reserved (bytes)", maxReserved);
    return values;
  }
}
