package moe4j.kernels.bench;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelBench;
import moe4j.tensor.Scopes;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Every topic's operations, in the smallest of the shapes that are timed. */
public class KernelBenchesTest {
  private static final Path TOPICS =
      Path.of(System.getProperty("moe4j.root"), "kernels/src/main/java/moe4j/kernels");

  private final Device device = Scopes.keep(() -> new Device("cpu"));

  private static List<BenchCase> cases(boolean small) {
    KernelBench.Scale scale = new KernelBench.Scale(ScalarType.Float, small);
    List<BenchCase> all = new ArrayList<>();
    KernelBenches.all().forEach(bench -> all.addAll(bench.cases(scale)));
    return all;
  }

  @DataProvider
  public Object[][] smallCases() {
    return cases(true).stream().map(c -> new Object[] {c.name(), c}).toArray(Object[][]::new);
  }

  /** A topic is a package with sources for a GPU; the self-test's own are no operations. */
  @Test
  public void everyTopicIsTimed() throws IOException {
    Set<String> topics = new TreeSet<>();
    try (Stream<Path> files = Files.walk(TOPICS)) {
      files
          .filter(file -> file.toString().endsWith(".cu"))
          .forEach(file -> topics.add(file.getParent().getFileName().toString()));
    }
    Set<String> timed = new TreeSet<>();
    for (KernelBench bench : KernelBenches.all()) {
      assertEquals(bench.getClass().getPackageName(), "moe4j.kernels." + bench.name());
      assertFalse(bench.cases(new KernelBench.Scale(ScalarType.Float, true)).isEmpty());
      timed.add(bench.name());
    }
    topics.remove("selftest");
    assertEquals(timed, topics);
  }

  /** Names tell cases apart, and both scales have the same ones. */
  @Test
  public void bothScalesAreOfTheSameOperations() {
    List<String> small = cases(true).stream().map(BenchCase::name).toList();
    assertEquals(cases(false).stream().map(BenchCase::name).toList(), small);
    assertEquals(new HashSet<>(small).size(), small.size());
    for (BenchCase large : cases(false)) {
      assertTrue(large.cost().bytes() > 0 || large.cost().flops() > 0, large.name());
    }
  }

  /** No name or shape is longer than its column, in either type: the table's columns line up. */
  @Test
  public void linesUp() {
    int column = KernelTimes.header().indexOf("shape");
    int next = KernelTimes.header().indexOf("ours ms") - 4;
    for (ScalarType dtype : List.of(ScalarType.Float, ScalarType.BFloat16)) {
      for (boolean small : new boolean[] {true, false}) {
        KernelBench.Scale scale = new KernelBench.Scale(dtype, small);
        for (KernelBench bench : KernelBenches.all()) {
          for (BenchCase of : bench.cases(scale)) {
            assertTrue(of.name().length() < column, of.name());
            assertTrue(of.shape().length() <= next - column, of.shape());
          }
        }
      }
    }
  }

  @Test(dataProvider = "smallCases")
  public void runsOnTheCpu(String name, BenchCase of) {
    KernelTimer timer = new KernelTimer(device, ScalarType.Float, 0, 2);
    // What is made once, at an operation's first use, stays.
    timer.time(of);
    long pointers = Scopes.livePointers();
    KernelTimes times = timer.time(of);
    // Fewer, where Java's collector has come by what other tests left.
    assertTrue(Scopes.livePointers() <= pointers, Scopes.livePointers() + " > " + pointers);
    for (double figure : new double[] {times.ours(), times.reference(), times.ratio()}) {
      assertTrue(figure > 0 && Double.isFinite(figure), times.toString());
    }
    assertTrue(times.rate() > 0 && Double.isFinite(times.rate()), times.toString());
    String line = times.line(new Ceilings("product", 1e12, 1e10));
    assertTrue(
        line.startsWith(name) && line.contains(of.cost().flops() > 0 ? " TFLOP/s " : " GB/s "),
        line);
  }

  /** The larger of what products and what moving bytes take. */
  @Test
  public void theFloorIsTheLargerOfBothCosts() {
    Ceilings ceilings = new Ceilings("product", 1e12, 1e10);
    assertEquals(ceilings.floor(new BenchCase.Cost(20_000_000, 1e9)), 2e-3, 1e-12);
    assertEquals(ceilings.floor(new BenchCase.Cost(20_000_000, 3e9)), 3e-3, 1e-12);
    BenchCase of = new BenchCase("one", "[1]", BenchCase.Cost.bytes(20_000_000), false, null);
    KernelTimes times = new KernelTimes(of, 8e-3, 16e-3, true);
    assertEquals(times.share(ceilings), 25, 1e-9);
    assertTrue(times.line(ceilings).endsWith(" 2.5 GB/s    25%     2.00  launched"));
    // A small operation on a CPU does not come to 0.0 GB/s.
    KernelTimes slow = new KernelTimes(of, 0.8, 16e-3, false);
    assertTrue(slow.line(ceilings).contains(" 0.025 GB/s "), slow.line(ceilings));
  }

  @Test
  public void ceilingsAreMeasuredAndLeaveNothingBehind() {
    Ceilings.measure(ScalarType.Float, device);
    long pointers = Scopes.livePointers();
    Ceilings ceilings = Ceilings.measure(ScalarType.Float, device);
    assertTrue(Scopes.livePointers() <= pointers);
    assertTrue(ceilings.flops() > 1e8 && ceilings.bytes() > 1e7, ceilings.toString());
    assertEquals(ceilings.product(), "1024-cubed fp32 product");
  }

  /** What a case is held against computes the same. */
  @Test(dataProvider = "smallCases")
  public void aReferenceOfItsOwnComputesTheSame(String name, BenchCase of) {
    Comparison comparison = new Comparison(device, Seeds.seed());
    Scopes.run(
        () -> {
          try (BenchInputs inputs = new BenchInputs(device, ScalarType.Float)) {
            BenchCase.Operation operation = of.operation().apply(inputs);
            if (operation.reference() != null) {
              List<Tensor> expected = operation.reference().get();
              List<Tensor> actual = operation.ours().get();
              for (int i = 0; i < expected.size(); i++) {
                comparison.close(name, actual.get(i), expected.get(i), 1e-5);
              }
            }
          }
        });
    comparison.findings().forEach(f -> assertTrue(f.passed(), f.toString()));
  }
}
