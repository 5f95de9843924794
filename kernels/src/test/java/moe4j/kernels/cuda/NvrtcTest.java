package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;

import org.testng.annotations.Test;

/** What is read in the log of a compilation, in lines as CUDA 13.0 writes them. */
public class NvrtcTest {
  private static final String LOSS =
      "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are"
          + " serialized due to insufficient register resources for the wgmma pipeline in the"
          + " function 'f'";
  private static final String REGISTERS =
      "ptxas info    : (C7508) setmaxnreg ignored; unable to determine register count at entry";

  @Test
  public void productsThatWaitForEachOtherAreFound() {
    String used = "ptxas info    : Used 168 registers, used 9 barriers\n";
    // The compiler may put in a wait of its own where one is needed; that alone costs little.
    String wait =
        "ptxas info    : (C7517) warpgroup.wait is injected in around line 70 by compiler to allow"
            + " use of registers defined by GMMA in function 'f'\n";
    assertNull(Nvrtc.serialised(""));
    assertNull(Nvrtc.serialised(used + wait));
    assertEquals(Nvrtc.serialised(used + wait + LOSS + "\n" + REGISTERS + "\n"), LOSS);
    assertEquals(Nvrtc.serialised(REGISTERS + "\n" + used), REGISTERS);
  }
}
