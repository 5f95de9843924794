package moe4j.kernels;

import static org.testng.Assert.assertEquals;

import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class NativeLibrariesTest {
  @DataProvider
  public Object[][] environments() {
    return new Object[][] {
      {null, 7},
      {"", 7},
      {"3", 3},
      {" 12 ", 12},
      {"4,2", 4},
      {"04", 4},
      {"0", 7},
      {"-2", 7},
      {"many", 7},
      {"99999999999", 7},
    };
  }

  @Test(dataProvider = "environments")
  public void openMpsVariableCountsWhereItIsANumber(String openMp, int threads) {
    assertEquals(NativeLibraries.defaultThreads(openMp, 7), threads);
  }

  /** The build sets it for all tests. */
  @Test
  public void theEnvironmentIsAsked() {
    assertEquals(
        NativeLibraries.defaultThreads(), Integer.parseInt(System.getenv("OMP_NUM_THREADS")));
  }
}
