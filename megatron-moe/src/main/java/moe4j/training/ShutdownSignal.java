package moe4j.training;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/**
 * Notes SIGTERM, so that the loop can save and end with status 0; others may take further signals
 * over. {@code sun.misc.Signal} is reached by reflection: it is supported, but naming it warns.
 */
public final class ShutdownSignal {
  private final AtomicBoolean received = new AtomicBoolean();

  /**
   * Takes the signal over from the virtual machine, which would end the process.
   *
   * @throws IllegalStateException on a virtual machine without signals
   */
  public static ShutdownSignal install() {
    ShutdownSignal signal = new ShutdownSignal();
    handle(name -> signal.received.set(true), List.of("TERM"));
    return signal;
  }

  /**
   * Takes signals over from the virtual machine. One that this process was started to ignore, such
   * as HUP under {@code nohup}, stays ignored.
   *
   * @param action what is done with a signal's name, on a thread of its own
   * @param names without {@code SIG}
   * @return gives the signals back
   * @throws IllegalStateException on a virtual machine without signals
   */
  public static Runnable handle(Consumer<String> action, List<String> names) {
    try {
      Class<?> type = Class.forName("sun.misc.Signal");
      Class<?> handlerType = Class.forName("sun.misc.SignalHandler");
      InvocationHandler call =
          (proxy, method, arguments) -> {
            if (method.getName().equals("handle")) {
              action.accept((String) type.getMethod("getName").invoke(arguments[0]));
            }
            return null;
          };
      Object handler =
          Proxy.newProxyInstance(
              ShutdownSignal.class.getClassLoader(), new Class<?>[] {handlerType}, call);
      Method handle = type.getMethod("handle", type, handlerType);
      Map<Object, Object> before = new LinkedHashMap<>();
      for (String name : names) {
        Object signal = type.getConstructor(String.class).newInstance(name);
        before.put(signal, handle.invoke(null, signal, handler));
      }
      return () -> before.forEach((signal, old) -> giveBack(handle, signal, old));
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(
          "SIG%s cannot be handled on this virtual machine".formatted(names.get(0)), e);
    }
  }

  private static void giveBack(Method handle, Object signal, Object old) {
    try {
      handle.invoke(null, signal, old);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(signal + " cannot be given back", e);
    }
  }

  /** Whether it has come. */
  public boolean received() {
    return received.get();
  }
}
