package moe4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.lang.reflect.RecordComponent;
import java.util.List;
import java.util.stream.Stream;
import moe4j.config.Flag;
import moe4j.kernels.bench.KernelBenches;
import moe4j.kernels.check.KernelBench;
import moe4j.model.txl.Console;
import org.testng.annotations.Test;

public class BenchKernelsCommandTest {
  @Test
  public void onlyTakesEveryTopicsName() {
    RecordComponent only =
        Stream.of(BenchKernelsCommand.Options.class.getRecordComponents())
            .filter(flag -> flag.getName().equals("only"))
            .findFirst()
            .orElseThrow();
    assertEquals(
        List.of(only.getAnnotation(Flag.class).choices()),
        KernelBenches.all().stream().map(KernelBench::name).toList());
  }

  /** A line below the header for each of one topic's cases. */
  @Test
  public void printsALineForEachOfATopicsCases() {
    Console console = Console.command("bench kernels --only dropout --rounds 1");
    assertEquals(console.status(), 0, console.err());
    List<String> lines = console.out().lines().toList();
    assertEquals(lines.size(), 6, String.join("\n", lines));
    assertTrue(lines.get(0).matches("CPU, \\d+ threads, fp32, commit .*"), lines.get(0));
    assertTrue(
        lines
            .get(1)
            .matches(
                "ceilings measured in this run: 1024-cubed fp32 product \\S+ TFLOP/s,"
                    + " copy \\d+\\.\\d GB/s"),
        lines.get(1));
    // A machine with other work may be far below a GB/s.
    String figures = " +\\d+\\.\\d{4} +\\d+\\.\\d{4} +\\S+ GB/s +\\d+% +\\d+\\.\\d\\d";
    for (String line : lines.subList(3, 6)) {
      assertTrue(line.matches("\\S.* +\\[512, 64]" + figures), line);
    }
  }
}
