package moe4j.cli;

import static org.testng.Assert.assertEquals;

import java.util.Optional;
import org.testng.annotations.Test;

public class AddressSpaceTest {
  private static final String STATUS = "Name:\tjava\nVmPeak:\t 4095072 kB\nVmSize:\t 4092872 kB\n";

  private static String limits(String soft) {
    return "Limit                     Soft Limit           Hard Limit           Units     \n"
        + "Max locked memory         8388608              8388608              bytes     \n"
        + "Max address space         %-20s unlimited            bytes     \n".formatted(soft)
        + "Max file locks            unlimited            unlimited            locks     \n";
  }

  @Test
  public void tooFewAddressesAreTold() {
    assertEquals(
        AddressSpace.shortage(limits("4500000768"), STATUS),
        Optional.of(
            "ulimit -v 4394532 leaves 294 MiB of addresses beside what Java has reserved, and"
                + " libtorch needs about 1024: ulimit -v unlimited lifts the limit"));
    assertEquals(
        AddressSpace.shortage(limits("1000"), STATUS)
            .orElseThrow()
            .split(" leaves ")[1]
            .split(" ")[0],
        "0");
  }

  @Test
  public void enoughIsNoReasonToSpeak() {
    assertEquals(AddressSpace.shortage(limits("unlimited"), STATUS), Optional.empty());
    assertEquals(AddressSpace.shortage(limits("9000000000"), STATUS), Optional.empty());
    assertEquals(AddressSpace.shortage("", ""), Optional.empty());
  }
}
