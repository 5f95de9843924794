package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import moe4j.kernels.cuda.KernelTable.Event;
import moe4j.kernels.cuda.KernelTable.Row;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class KernelTableTest {
  private final Random random = Seeds.random(KernelTableTest.class);

  @Test
  public void theLongestFirstWithWhatOverlapsCountedOnce() {
    List<Event> events =
        new ArrayList<>(
            List.of(
                new Event("gemm", 1_000, 4_000),
                new Event("norm", 3_000, 5_000),
                new Event("norm", 3_500, 4_500),
                new Event("copy", 9_000, 10_000)));
    Collections.shuffle(events, random);
    KernelTable table = KernelTable.of(events);
    assertEquals(
        table.rows(),
        List.of(
            new Row("gemm", 1, 3, 3 / 7.0, 3, 3),
            new Row("norm", 2, 3, 3 / 7.0, 1, 2),
            new Row("copy", 1, 1, 1 / 7.0, 1, 1)));
    assertEquals(table.spanMicros(), 9.0);
    assertEquals(table.busyMicros(), 5.0);
    assertEquals(table.idleMicros(), 4.0);
  }

  @Test
  public void asTextPerStep() {
    KernelTable table =
        KernelTable.of(
            List.of(
                new Event("gemm", 0, 3_000_000),
                new Event("norm", 3_000_000, 3_500_000),
                new Event("gemm", 4_000_000, 6_500_000)));
    assertEquals(
        String.join("\n", table.lines(2)),
        """
        2 steps | of each: span 3.250 ms, GPU busy 3.000 ms, idle 0.250 ms (7.7%)
        kernel     calls         ms       %  cum. %     min us     max us
        gemm           1      2.750   91.67   91.67     2500.0     3000.0
        norm         0.5      0.250    8.33  100.00      500.0      500.0
        all          1.5      3.000  100.00""");
  }

  @Test
  public void nothingRan() {
    KernelTable table = KernelTable.of(List.of());
    assertEquals(table.spanMicros(), 0.0);
    assertEquals(table.lines(2).size(), 3);
  }

  @Test
  public void longNamesAreCut() {
    String name = "k".repeat(KernelTable.NAME_COLUMNS + 1);
    String line = KernelTable.of(List.of(new Event(name, 0, 1))).lines(1).get(2);
    assertTrue(line.startsWith("k".repeat(KernelTable.NAME_COLUMNS - 3) + "... "), line);
  }

  @Test
  public void namesAreShortened() {
    assertEquals(
        KernelTable.shorten(
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>,"
                + " std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<float>,"
                + " std::array<char*, 3ul>)"),
        "vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, array<char*, 3ul> >");
    assertEquals(
        KernelTable.shorten(
            "void at::native::(anonymous namespace)::layer_norm<float, (int)2>(int, float const*)"),
        "layer_norm<float, (int)2>");
    String plain = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize2x1x1";
    assertEquals(KernelTable.shorten(plain), plain);
    assertEquals(KernelTable.shorten("adamw"), "adamw");
    assertEquals(
        KernelTable.shorten("void at::native::f<at::native::g(int)::{lambda(float)#1}>(int)"),
        "f<g(int)::{lambda(float)#1}>");
  }
}
