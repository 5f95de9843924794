package moe4j.kernels;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.Set;
import moe4j.kernels.selftest.Comparison;
import moe4j.kernels.selftest.KernelCheck;
import moe4j.kernels.selftest.KernelChecks;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Device;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The references of the kernels between a layer's products, by the kernels' own checks. */
public class LayerKernelsTest {
  private static final Set<String> NAMES = Set.of("column sum", "norm", "activation", "dropout");

  @DataProvider
  public Object[][] checks() {
    List<KernelCheck> checks =
        KernelChecks.all().stream().filter(c -> NAMES.contains(c.name())).toList();
    assertEquals(checks.size(), NAMES.size());
    return checks.stream().map(c -> new Object[] {c}).toArray(Object[][]::new);
  }

  @Test(dataProvider = "checks")
  public void references(KernelCheck check) {
    Scopes.run(
        () -> {
          Comparison on =
              new Comparison(new Device("cpu"), Seeds.random(LayerKernelsTest.class).nextLong());
          check.run(on);
          assertTrue(on.findings().size() > 10);
          for (Comparison.Finding finding : on.findings()) {
            assertTrue(finding.passed(), finding.toString());
          }
        });
  }
}
