package moe4j.parallel;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.List;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class HostListTest {
  private static List<String> hosts(String list) {
    return HostList.hosts("HOSTS", list);
  }

  @Test
  public void hosts() {
    assertEquals(hosts("node7"), List.of("node7"));
    assertEquals(hosts("b,a"), List.of("b", "a"));
    assertEquals(hosts("gpu-a[1-3]"), List.of("gpu-a1", "gpu-a2", "gpu-a3"));
    assertEquals(
        hosts("n[08-10,3].local"), List.of("n08.local", "n09.local", "n10.local", "n3.local"));
    assertEquals(hosts("login,n[099-101],x[2]"), List.of("login", "n099", "n100", "n101", "x2"));
    assertEquals(hosts("r[1-2]n[3-4]"), List.of("r1n3", "r1n4", "r2n3", "r2n4"));
    assertEquals(hosts("a[0-999]").size(), 1000);
  }

  @Test
  public void tasks() {
    assertEquals(HostList.tasks("TASKS", "8"), List.of(8));
    assertEquals(HostList.tasks("TASKS", "2(x3),1"), List.of(2, 2, 2, 1));
    assertEquals(HostList.tasks("TASKS", "4,8(x2)"), List.of(4, 8, 8));
  }

  @DataProvider
  static Object[][] malformed() {
    return new Object[][] {
      {""}, {","}, {"a[1"}, {"a]1"}, {"a[3-1]"}, {"a[x]"}, {"a[]"}, {"a[1-]"}, {"a[0-99999999]"}
    };
  }

  @Test(dataProvider = "malformed")
  public void whatIsNoListIsRefused(String list) {
    IllegalArgumentException refused =
        expectThrows(IllegalArgumentException.class, () -> hosts(list));
    assertEquals(
        refused.getMessage(), "HOSTS is '%s', which is no list of Slurm's".formatted(list));
  }

  @Test(dataProvider = "malformedTasks")
  public void whatAreNoTasksIsRefused(String list) {
    IllegalArgumentException refused =
        expectThrows(IllegalArgumentException.class, () -> HostList.tasks("TASKS", list));
    assertEquals(
        refused.getMessage(), "TASKS is '%s', which is no list of Slurm's".formatted(list));
  }

  @DataProvider
  static Object[][] malformedTasks() {
    return new Object[][] {{""}, {"a"}, {"2(x)"}, {"2(x0)"}, {"2(x99999999)"}, {"2,,3"}};
  }
}
