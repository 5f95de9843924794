package moe4j.config;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Makes the builders of records of flags. A builder's interface says which methods there are; what
 * they do is the same for all of them, so that it stands here once: defaults and checks are the
 * flags' own, and no second list of them can differ from the first.
 */
public final class Builders {
  private Builders() {}

  /** A builder whose values are the flags' defaults; required ones are missing. */
  public static <R extends Record, B extends FlagsBuilder<R>> B of(
      Class<R> record, Class<B> builder) {
    return proxy(record, builder, Flags.defaults(record));
  }

  /** A builder whose values are a record's. */
  public static <R extends Record, B extends FlagsBuilder<R>> B from(R record, Class<B> builder) {
    // A record's class is final.
    @SuppressWarnings("unchecked")
    Class<R> type = (Class<R>) record.getClass();
    Map<String, Object> values = new LinkedHashMap<>();
    FlagSpec.of(type).forEach(spec -> values.put(spec.component().getName(), spec.of(record)));
    return proxy(type, builder, values);
  }

  /**
   * Refuses what cannot be seen in one record: values that have no effect because of another
   * record's values.
   *
   * @throws RefusedLine with a sentence for each fault
   */
  public static void checkTogether(List<? extends Record> records) {
    FlagRecords.refuseWithoutEffect(records);
  }

  private static <R extends Record, B extends FlagsBuilder<R>> B proxy(
      Class<R> record, Class<B> builder, Map<String, Object> values) {
    InvocationHandler handler =
        (proxy, method, arguments) -> answer(record, proxy, method, arguments, values);
    return builder.cast(
        Proxy.newProxyInstance(builder.getClassLoader(), new Class<?>[] {builder}, handler));
  }

  private static Object answer(
      Class<? extends Record> record,
      Object proxy,
      Method method,
      Object[] arguments,
      Map<String, Object> values) {
    if (method.getDeclaringClass() == Object.class) {
      return switch (method.getName()) {
        case "equals" -> proxy == arguments[0];
        case "hashCode" -> System.identityHashCode(proxy);
        default -> record.getSimpleName() + values;
      };
    }
    if (arguments == null) {
      return FlagRecords.made(record, values);
    }
    values.put(method.getName(), kept(arguments[0]));
    return proxy;
  }

  /** A value that its caller cannot change any more. */
  private static Object kept(Object value) {
    if (value instanceof Object[] elements) {
      return Collections.unmodifiableList(Arrays.asList(elements.clone()));
    }
    return value instanceof List<?> list
        ? Collections.unmodifiableList(Arrays.asList(list.toArray()))
        : value;
  }
}
