package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** What a user reads of a failure that nobody foresaw. */
public class UnexpectedFailureTest {

  /** 2^60 bytes: more than addresses can name, so no machine gives them. */
  @Test
  public void memoryThatTheSystemRefusesIsToldInASentence() {
    RuntimeException failure =
        expectThrows(
            RuntimeException.class,
            () -> Scopes.run(() -> Tensors.emptyHost(ScalarType.Byte, false, 1L << 60)));
    assertEquals(
        Main.unexpected(failure),
        "out of memory: 1152921504606846976 bytes at once are more than this machine gives");
  }

  @Test
  public void othersKeepTheirFirstLine() {
    assertEquals(
        Main.unexpected(new IllegalStateException("odd\nat 0x0")),
        "odd (MOE4J_LOG=debug shows where)");
    assertEquals(
        Main.unexpected(new IllegalStateException()),
        "java.lang.IllegalStateException (MOE4J_LOG=debug shows where)");
  }
}
