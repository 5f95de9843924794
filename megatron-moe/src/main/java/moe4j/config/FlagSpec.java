package moe4j.config;

import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/** One flag, as its record component declares it. */
record FlagSpec(String name, RecordComponent component, Flag flag) {

  static List<FlagSpec> of(Class<? extends Record> type) {
    List<FlagSpec> specs = new ArrayList<>();
    for (RecordComponent component : type.getRecordComponents()) {
      Flag flag = component.getAnnotation(Flag.class);
      if (flag == null) {
        throw new IllegalStateException(type.getName() + "." + component.getName() + ": no @Flag");
      }
      specs.add(new FlagSpec(kebab(component.getName()), component, flag));
    }
    return specs;
  }

  /** {@code numLayers} as {@code num-layers}; digits stay with the letters before them. */
  static String kebab(String camel) {
    return camel.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
  }

  /** The record that has it. */
  Class<?> record() {
    return component.getDeclaringRecord();
  }

  boolean isSwitch() {
    return component.getType() == boolean.class;
  }

  boolean isList() {
    return component.getType() == List.class;
  }

  /** The flag's name that this one needs; empty for none. */
  String needed() {
    return flag.needs().replaceFirst(" .*", "");
  }

  /** The words that follow the flag in the help text, such as {@code N}. */
  String argument() {
    if (isSwitch()) {
      return "";
    }
    if (flag.choices().length > 0) {
      return " {" + String.join(",", flag.choices()) + "}";
    }
    Class<?> type = component.getType();
    if (type == int.class || type == long.class || type == Integer.class || type == Long.class) {
      return " N";
    }
    return type == double.class || type == Double.class ? " X" : isList() ? " A [B ...]" : " TEXT";
  }

  /** The help text with the default, and the flag it needs, behind it. */
  String help() {
    List<String> notes = new ArrayList<>();
    if (flag.required()) {
      notes.add("required");
    } else if (!flag.value().isEmpty()) {
      notes.add("default " + flag.value());
    } else if (!flag.otherwise().isEmpty()) {
      notes.add("default: " + flag.otherwise());
    } else if (!isSwitch()) {
      notes.add("default: none");
    }
    if (!flag.needs().isEmpty()) {
      notes.add((flag.tolerated() ? "no effect without --" : "needs --") + flag.needs());
    }
    if (flag.onGpu()) {
      notes.add("no effect without --device cuda");
    }
    if (!flag.idleBeside().isEmpty()) {
      notes.add("no effect beside --" + flag.idleBeside());
    }
    return flag.help()
        + moreHelp()
        + (notes.isEmpty() ? "" : " (" + String.join("; ", notes) + ")");
  }

  private String moreHelp() {
    try {
      return flag.moreHelp().getConstructor().newInstance().get();
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(
          "--%s: %s has no public constructor without arguments"
              .formatted(name, flag.moreHelp().getName()),
          e);
    }
  }

  /**
   * Refuses a value that would have no effect, for want of the flag it needs. The default says
   * nothing, typed or not: a command line made of a record has every flag.
   *
   * @param values of all flags, by name
   */
  void refuseWithoutEffect(Map<String, Object> values) {
    if (isWithoutEffect(values)) {
      throw new IllegalArgumentException("--%s needs --%s".formatted(name, flag.needs()));
    }
  }

  /** Whether a flag that has no effect is taken all the same, with a line in the log. */
  boolean isTolerated() {
    return flag.tolerated() || !flag.idleBeside().isEmpty();
  }

  /** Whether a value that is not the default has no effect because a CPU computes. */
  boolean isIdleOnCpu(Map<String, Object> values) {
    return flag.onGpu()
        && "cpu".equals(values.get("device"))
        && !Objects.equals(values.get(name), parse(null));
  }

  /** Whether a value that is not the default has no effect, because of another flag's value. */
  boolean isWithoutEffect(Map<String, Object> values) {
    boolean depends = !flag.needs().isEmpty() || !flag.idleBeside().isEmpty();
    if (!depends || Objects.equals(values.get(name), parse(null))) {
      return false;
    }
    if (!flag.idleBeside().isEmpty() && Boolean.TRUE.equals(values.get(flag.idleBeside()))) {
      return true;
    }
    if (flag.needs().isEmpty()) {
      return false;
    }
    String[] needed = flag.needs().split(" ", 2);
    Object other = values.get(needed[0]);
    boolean there =
        needed.length == 2
            ? needed[1].equals(String.valueOf(other))
            : other != null && !other.equals(false);
    return !there;
  }

  /** The typed value for what was typed, or for nothing. */
  Object parse(List<String> typed) {
    if (isSwitch()) {
      return typed != null;
    }
    if (typed == null && flag.required()) {
      throw new IllegalArgumentException("--" + name + " is required");
    }
    if (isList()) {
      List<String> words = typed == null ? words(flag.value()) : typed;
      return words.stream().map(text -> value(text, elements())).toList();
    }
    if (typed == null) {
      return flag.value().isEmpty() ? null : value(flag.value(), component.getType());
    }
    return value(typed.get(typed.size() - 1), component.getType());
  }

  private static List<String> words(String value) {
    return value.isEmpty() ? List.of() : List.of(value.split(" "));
  }

  /** The type of a list's elements. */
  private Class<?> elements() {
    return (Class<?>) ((ParameterizedType) component.getGenericType()).getActualTypeArguments()[0];
  }

  /** Refuses a value, or one of a list, that is not one of the choices. */
  void refuseOtherChoices(Object value) {
    if (flag.choices().length == 0 || value == null) {
      return;
    }
    for (Object each : value instanceof List<?> list ? list : List.of(value)) {
      if (!List.of(flag.choices()).contains(each.toString())) {
        throw new IllegalArgumentException(
            "--%s takes %s, not '%s'%s"
                .formatted(
                    name,
                    String.join(", ", flag.choices()),
                    each,
                    MegatronValues.reason(name, each)));
      }
    }
  }

  /**
   * Makes a member of a record of flags callable, which a module of a user's may forbid.
   *
   * @throws IllegalArgumentException in a sentence that names record, package and module
   */
  static <M extends AccessibleObject & Member> void reach(M member) {
    if (!member.trySetAccessible()) {
      Class<?> type = member.getDeclaringClass();
      throw new IllegalArgumentException(
          "%s is a record of flags: its module %s has to open the package %s"
              .formatted(type.getName(), type.getModule().getName(), type.getPackageName()));
    }
  }

  /** The value that a record has. */
  Object of(Record record) {
    try {
      Method accessor = component.getAccessor();
      reach(accessor);
      return accessor.invoke(record);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(name, e);
    }
  }

  /** Refuses a value that nothing typed could give. */
  void refuse(Object value) {
    if (value == null && flag.required()) {
      throw new IllegalArgumentException("--" + name + " is required");
    }
    List<?> each = value instanceof List<?> list ? list : Arrays.asList(value);
    if (each.stream().anyMatch(Objects::isNull) && (isList() || parse(null) != null)) {
      throw new IllegalArgumentException("--%s: null is no value of it".formatted(name));
    }
    for (Object number : each) {
      if (number instanceof Double x && !Double.isFinite(x)) {
        throw new IllegalArgumentException("--%s takes a number, not '%s'".formatted(name, x));
      }
    }
    refuseOtherChoices(value);
  }

  private Object value(String text, Class<?> type) {
    refuseOtherChoices(text);
    String wanted = "a whole number";
    try {
      if (type == int.class || type == Integer.class) {
        return Integer.valueOf(text);
      } else if (type == long.class || type == Long.class) {
        return Long.valueOf(text);
      } else if (type == double.class || type == Double.class) {
        wanted = "a number";
        // Decimal notation alone: Double.parseDouble takes NaN, 1f and 0x1p3 too.
        double number = new BigDecimal(text).doubleValue();
        if (Double.isInfinite(number)) {
          throw new NumberFormatException();
        }
        return number;
      } else if (type == String.class) {
        return text;
      }
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "--%s takes %s, not '%s'".formatted(name, wanted, text), e);
    }
    throw new IllegalStateException("--" + name + ": no flag of type " + type.getName());
  }
}
