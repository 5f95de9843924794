package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What a launch's arguments are held against, on parameters made up: no GPU is needed. */
public class KernelParametersTest {
  /** An address, a 64-bit number, an int and a float. */
  private static final KernelParameters PARAMETERS =
      new KernelParameters("the kernel f of t/f.cu", 8, 8, 4, 4);

  @Test
  public void argumentsOfTheParametersSizesAreTaken() {
    PARAMETERS.check(new Tensor(), 1L, 2, 3f);
    PARAMETERS.check(null, null, 2f, 3);
    new KernelParameters("the kernel of nothing").check();
    new KernelParameters("the kernel of a map", 128, 8).check(new TensorMap(new long[16]), null);
  }

  @DataProvider
  public Object[][] refusals() {
    return new Object[][] {
      {
        new Object[] {null, 1L, 2L, 3f},
        "Argument 3 of the kernel f of t/f.cu has 8 bytes (Long), where its parameter has 4."
      },
      {
        new Object[] {null, 1, 2, 3f},
        "Argument 2 of the kernel f of t/f.cu has 4 bytes (Integer), where its parameter has 8."
      },
      {
        new Object[] {1f, 1L, 2, 3f},
        "Argument 1 of the kernel f of t/f.cu has 4 bytes (Float), where its parameter has 8."
      },
      {
        new Object[] {null, 1L, 2, null},
        "Argument 4 of the kernel f of t/f.cu has 8 bytes (null), where its parameter has 4."
      },
      {
        new Object[] {null, 1L, 2},
        "Argument 4 of the kernel f of t/f.cu is missing: 3 are given for 4 parameters, of which"
            + " this one has 4 bytes."
      },
      {
        new Object[] {},
        "Argument 1 of the kernel f of t/f.cu is missing: 0 are given for 4 parameters, of which"
            + " this one has 8 bytes."
      },
      {
        new Object[] {null, 1L, 2, 3f, 4, 5},
        "Argument 5 of the kernel f of t/f.cu, of 4 bytes (Integer), has no parameter: 6 are given"
            + " for 4."
      },
      {
        new Object[] {new TensorMap(new long[16]), 1L, 2, 3f},
        "Argument 1 of the kernel f of t/f.cu has 128 bytes (TensorMap), where its parameter has 8."
      },
      // What is of another size is named before what is missing: it says where one was left out.
      {
        new Object[] {null, 2, 3f},
        "Argument 2 of the kernel f of t/f.cu has 4 bytes (Integer), where its parameter has 8."
      },
    };
  }

  @Test(dataProvider = "refusals")
  public void argumentsThatAreNotTheParametersAreRefused(Object[] arguments, String message) {
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> PARAMETERS.check(arguments))
            .getMessage(),
        message);
  }
}
