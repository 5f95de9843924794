package moe4j.config;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.util.function.Supplier;

/**
 * Makes a record component a command-line flag. Component types: {@code int}, {@code long}, {@code
 * double}, {@code boolean} (present or not), {@code String}, the numbers' boxes (null, as a string,
 * where the flag is absent and has no default), {@code List<String>}, {@code List<Integer>} and
 * {@code List<Double>} (empty where absent; a default's words stand between spaces).
 */
@Target(ElementType.RECORD_COMPONENT)
@Retention(RetentionPolicy.RUNTIME)
public @interface Flag {
  /** One sentence for {@code --help}. */
  String help();

  /** A text that {@code --help} adds, such as a list of values that is kept elsewhere. */
  Class<? extends Supplier<String>> moreHelp() default NothingMore.class;

  /** The default, as it would be typed; empty for none. */
  String value() default "";

  /** Words for a default that depends on other flags, for {@code --help}. */
  String otherwise() default "";

  /** The values it takes, where they are few. */
  String[] choices() default {};

  /** Whether a command that has this flag cannot do without it. */
  boolean required() default false;

  /**
   * The flag of the same command without which this one has no effect: its name and, where it is to
   * have a certain value, that value behind a space. A value that is not the default is refused
   * without it.
   */
  String needs() default "";

  /**
   * Whether the flag is taken without what it needs, and told to be without effect: flags of
   * Megatron's that say how something is computed, not what.
   */
  boolean tolerated() default false;

  /**
   * Whether the flag says how a GPU computes, beside what it needs: with {@code --device cpu} it is
   * taken and told to be without effect.
   */
  boolean onGpu() default false;

  /**
   * The switch of the same command beside which this flag is taken, has no effect and is told so,
   * as Megatron has it.
   */
  String idleBeside() default "";

  /**
   * What other commands or programs call this flag. Such a name is not taken: its refusal names
   * this flag, where the nearest spelling would lead astray.
   */
  String[] insteadOf() default {};

  /** There is no more help than {@link #help}. */
  final class NothingMore implements Supplier<String> {
    @Override
    public String get() {
      return "";
    }
  }
}
