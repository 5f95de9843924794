package moe4j.training;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Notes SIGTERM, so that the loop can save and end with status 0. {@code sun.misc.Signal} is
 * reached by reflection: it is supported, but naming it warns.
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
    try {
      Class<?> type = Class.forName("sun.misc.Signal");
      Class<?> handlerType = Class.forName("sun.misc.SignalHandler");
      InvocationHandler note =
          (proxy, method, arguments) -> {
            if (method.getName().equals("handle")) {
              signal.received.set(true);
            }
            return null;
          };
      Object handler =
          Proxy.newProxyInstance(
              ShutdownSignal.class.getClassLoader(), new Class<?>[] {handlerType}, note);
      Object term = type.getConstructor(String.class).newInstance("TERM");
      type.getMethod("handle", type, handlerType).invoke(null, term, handler);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("SIGTERM cannot be handled on this virtual machine", e);
    }
    return signal;
  }

  /** Whether it has come. */
  public boolean received() {
    return received.get();
  }
}
