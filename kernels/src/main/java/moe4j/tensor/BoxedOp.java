package moe4j.tensor;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Dispatcher;
import org.bytedeco.pytorch.GenericList;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.OperatorHandle;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorType;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Type;

/**
 * An ATen operator that the presets do not map, called through the dispatcher with autograd. It is
 * looked up once; a call costs some microseconds.
 *
 * <p>Arguments are wrapped here and nowhere else: several of {@link IValue}'s constructors compile
 * for arguments with which they abort the process.
 */
public final class BoxedOp {
  private static final Type.TypePtr TENSOR_TYPE =
      Scopes.keep(() -> new Type.TypePtr(TensorType.get()));

  private final OperatorHandle handle;

  private BoxedOp(OperatorHandle handle) {
    this.handle = handle;
  }

  /**
   * Looks an operator up.
   *
   * @param name such as {@code aten::_grouped_mm}
   * @param overload such as {@code tensor_lr}, or empty
   */
  public static BoxedOp find(String name, String overload) {
    return new BoxedOp(Scopes.keep(() -> Dispatcher.singleton().findSchemaOrThrow(name, overload)));
  }

  /**
   * Calls the operator.
   *
   * @param arguments in the schema's order: {@link Tensor}, a list of tensors, {@link Double},
   *     {@link Long}, {@link Boolean}, a ready {@link IValue}, or null for an absent one
   * @return the first result, or null where the operator has none
   */
  public Tensor call(Object... arguments) {
    IValueVector stack = invoke(arguments);
    // The copy is a handle of its own: toTensor() points into the stack, which its scope closes.
    return stack.size() == 0 ? null : new Tensor(stack.get(0).toTensor());
  }

  /**
   * Calls an operator with several results, all of them tensors; arguments as for {@link #call}.
   */
  public List<Tensor> callForAll(Object... arguments) {
    IValueVector stack = invoke(arguments);
    List<Tensor> results = new ArrayList<>();
    for (long i = 0; i < stack.size(); i++) {
      results.add(new Tensor(stack.get(i).toTensor()));
    }
    return results;
  }

  /** Calls an operator whose result is a list of tensors; arguments as for {@link #call}. */
  List<Tensor> callForList(Object... arguments) {
    TensorVector results = invoke(arguments).get(0).toTensorVector();
    List<Tensor> list = new ArrayList<>();
    for (long i = 0; i < results.size(); i++) {
      list.add(new Tensor(results.get(i)));
    }
    return list;
  }

  /** Calls an operator whose result is true or false; arguments as for {@link #call}. */
  public boolean callForFlag(Object... arguments) {
    try (PointerScope scope = new PointerScope()) {
      return invoke(arguments).get(0).toBool();
    }
  }

  private IValueVector invoke(Object... arguments) {
    IValueVector stack = new IValueVector();
    for (Object argument : arguments) {
      stack.push_back(wrap(argument));
    }
    Dispatcher.singleton().callBoxed(handle, stack);
    return stack;
  }

  /**
   * The type of the elements of an argument that is a list; it belongs to the scope that is open.
   *
   * @param argument its number in the schema, from 0
   */
  public Type.TypePtr elementType(int argument) {
    return handle.schema().arguments().getPointer(argument).type().get().containedType(0);
  }

  private static IValue wrap(Object argument) {
    if (argument == null) {
      return new IValue();
    } else if (argument instanceof Tensor tensor) {
      return new IValue(tensor);
    } else if (argument instanceof IValue value) {
      return value;
    } else if (argument instanceof Double number) {
      return new IValue(number.doubleValue());
    } else if (argument instanceof Long number) {
      return new IValue(number.longValue());
    } else if (argument instanceof Boolean flag) {
      return new IValue(flag.booleanValue());
    } else if (argument instanceof List<?> tensors) {
      GenericList list = new GenericList(TENSOR_TYPE);
      for (Object tensor : tensors) {
        list.push_back(new IValue((Tensor) tensor));
      }
      return new IValue(list);
    }
    throw new IllegalArgumentException(
        "An operator takes no argument of the class " + argument.getClass().getName() + ".");
  }
}
