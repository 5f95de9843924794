package moe4j.kernels.selftest;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.stream.Stream;
import moe4j.kernels.bench.KernelBenches;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.check.KernelCheck;
import moe4j.tensor.Scopes;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class SelfTestTest {
  private final Device device = Scopes.keep(() -> new Device("cpu"));

  @DataProvider
  public Object[][] checks() {
    return KernelChecks.all().stream()
        .map(c -> new Object[] {c.name(), c})
        .toArray(Object[][]::new);
  }

  /** What moe4j selftest runs on a GPU holds for the references on the CPU. */
  @Test(dataProvider = "checks")
  public void passesOnTheCpu(String name, KernelCheck check) {
    List<String> lines = new ArrayList<>();
    SelfTest.Result result = SelfTest.run(List.of(check), device, Seeds.seed(), lines::add);
    assertTrue(result.passed(), name + ":\n" + String.join("\n", lines));
  }

  /** A check that the list does not name would hold nothing, and each topic has one. */
  @Test
  public void everyCheckIsListed() throws IOException {
    Set<String> written = new TreeSet<>();
    Path topics = Path.of(System.getProperty("moe4j.root"), "kernels/src/main/java/moe4j/kernels");
    try (Stream<Path> files = Files.walk(topics)) {
      files
          .map(file -> topics.relativize(file).toString())
          .filter(file -> file.endsWith("Check.java") && !file.matches("(check|selftest)/.*"))
          .forEach(file -> written.add(file.replace(".java", "").replace('/', '.')));
    }
    Set<String> listed = new TreeSet<>();
    Set<String> checked = new TreeSet<>();
    for (KernelCheck check : KernelChecks.all()) {
      listed.add(check.getClass().getName().substring("moe4j.kernels.".length()));
      checked.add(check.getClass().getPackageName());
    }
    assertEquals(listed, written);
    for (KernelBench bench : KernelBenches.all()) {
      assertTrue(checked.contains(bench.getClass().getPackageName()), bench.name());
    }
  }

  private static KernelCheck check(String name, Consumer<Comparison> body) {
    return new KernelCheck() {
      @Override
      public String name() {
        return name;
      }

      @Override
      public void run(Comparison on) {
        body.accept(on);
      }
    };
  }

  /** Each check is told of before it runs. */
  @Test
  public void progressIsALineACheck() {
    List<String> said = new ArrayList<>();
    KernelCheck first = check("first", on -> said.add("first runs"));
    KernelCheck second = check("second", on -> said.add("second runs"));
    SelfTest.run(List.of(first, second), device, Seeds.seed(), line -> {}, said::add);
    assertEquals(said.size(), 4);
    assertTrue(said.get(0).matches("check 1 of 2 after \\d+\\.\\d s: first"), said.get(0));
    assertEquals(said.get(1), "first runs");
    assertTrue(said.get(2).matches("check 2 of 2 after \\d+\\.\\d s: second"), said.get(2));
    assertEquals(said.get(3), "second runs");
  }

  /** A row that broadcasts over equal rows is not what was computed. */
  @Test
  public void equalNumbersOfAnotherShapeFail() {
    List<String> lines = new ArrayList<>();
    SelfTest.Result result =
        SelfTest.run(
            List.of(
                check(
                    "shapes",
                    on -> {
                      Tensor row = on.normal(ScalarType.Float, 1, 5);
                      on.same("rows", row, row.expand(3, 5));
                    })),
            device,
            Seeds.seed(),
            lines::add);
    assertFalse(result.passed());
    assertTrue(lines.get(0).startsWith("rows: shape [1, 5] for [3, 5] "), lines.get(0));
  }

  @Test
  public void aCheckSaysWhyItIsSkipped() {
    List<String> lines = new ArrayList<>();
    List<KernelCheck> checks = List.of(check("absent", on -> on.skip("it needs a GPU")));
    SelfTest.Result result = SelfTest.run(checks, device, Seeds.seed(), lines::add);
    assertEquals(lines, List.of("absent was skipped: it needs a GPU"));
    assertEquals(result.toString(), "1 check, 0 findings, 0 failed");
  }

  @Test
  public void whatOneCheckThrowsDoesNotKeepTheNextFromRunning() {
    List<String> lines = new ArrayList<>();
    SelfTest.Result result =
        SelfTest.run(
            List.of(
                check(
                    "first",
                    on -> {
                      throw new IllegalStateException("no such kernel\nat a frame");
                    }),
                check("second", on -> {}),
                check(
                    "third",
                    on -> {
                      Tensor x = on.normal(ScalarType.Float, 3, 5);
                      on.close("equal", x, x, 0);
                      on.close("twice", x.mul(new Scalar(2.0)), x, 0.5);
                    })),
            device,
            Seeds.seed(),
            lines::add);
    assertEquals(
        lines.subList(0, 2),
        List.of(
            "first threw java.lang.IllegalStateException: no such kernel  FAILED",
            "second compared nothing  FAILED"));
    assertTrue(lines.get(2).startsWith("equal ") && lines.get(2).endsWith(" ok"), lines.get(2));
    assertTrue(lines.get(3).startsWith("twice ") && lines.get(3).endsWith("FAILED"), lines.get(3));
    assertEquals(result.toString(), "3 checks, 2 findings, 3 failed");
    assertFalse(result.passed());
  }
}
