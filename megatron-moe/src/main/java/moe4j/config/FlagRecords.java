package moe4j.config;

import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Makes records of flags out of values, with the checks that a command line's values have. */
final class FlagRecords {
  private FlagRecords() {}

  /**
   * A record of values that no command line gave, such as a builder's: with all the checks that a
   * command line's have, as far as they are about one record.
   *
   * @param components its components' values by their names; required ones may be missing
   * @throws RefusedLine with a sentence for each fault
   */
  static <R extends Record> R made(Class<R> type, Map<String, Object> components) {
    Faults faults = new Faults();
    Map<String, Object> values = new HashMap<>();
    List<FlagSpec> specs = FlagSpec.of(type);
    specs.forEach(
        spec -> {
          Object value = components.get(spec.component().getName());
          faults.none(() -> spec.refuse(value));
          values.put(spec.name(), value);
        });
    faults.refuse();
    Record record = record(type, values);
    // Before what the record derives of them: a sentence names the flag that its caller gave.
    refuseWithoutEffect(specs, values);
    return type.cast(record);
  }

  /**
   * Refuses values that have no effect because of other values in these records, as those of a
   * command line are refused.
   *
   * @throws RefusedLine with a sentence for each fault
   */
  static void refuseWithoutEffect(List<? extends Record> records) {
    Map<String, Object> values = new HashMap<>();
    List<FlagSpec> specs = new ArrayList<>();
    for (Record record : records) {
      for (FlagSpec spec : FlagSpec.of(record.getClass())) {
        specs.add(spec);
        values.put(spec.name(), spec.of(record));
      }
    }
    refuseWithoutEffect(specs, values);
  }

  private static void refuseWithoutEffect(List<FlagSpec> specs, Map<String, Object> values) {
    Faults faults = new Faults();
    specs.stream()
        .filter(spec -> !spec.isTolerated() && values.containsKey(spec.needed()))
        .forEach(spec -> faults.none(() -> spec.refuseWithoutEffect(values)));
    faults.refuse();
  }

  /** A record of its flags' values, by their names. */
  static Record record(Class<? extends Record> type, Map<String, Object> values) {
    RecordComponent[] components = type.getRecordComponents();
    Object[] each =
        Arrays.stream(components).map(c -> values.get(FlagSpec.kebab(c.getName()))).toArray();
    Record record = construct(type, components, each);
    if (record instanceof Flags.Checked checked) {
      checked.check();
    }
    return record;
  }

  private static Record construct(
      Class<? extends Record> type, RecordComponent[] components, Object[] values) {
    Class<?>[] signature =
        Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
    try {
      Constructor<? extends Record> constructor = type.getDeclaredConstructor(signature);
      FlagSpec.reach(constructor);
      return constructor.newInstance(values);
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof IllegalArgumentException refused) {
        throw refused;
      }
      throw new IllegalStateException(type.getName(), e.getCause());
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(type.getName(), e);
    }
  }
}
