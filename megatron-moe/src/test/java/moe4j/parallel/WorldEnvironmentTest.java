package moe4j.parallel;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.HashMap;
import java.util.Map;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class WorldEnvironmentTest {
  private static final WorldEnvironment ALONE =
      new WorldEnvironment(0, 1, 0, 1, "127.0.0.1", 0, false, 0, "");

  private static final String TORCHRUN =
      "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 MASTER_ADDR=head MASTER_PORT=29500";
  private static final String STEP =
      "SLURM_JOB_ID=4711 SLURM_STEP_ID=2 SLURM_PROCID=6 SLURM_LOCALID=1 SLURM_NODEID=2"
          + " SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=8 SLURM_STEP_NODELIST=gpu[08-10],big3"
          + " SLURM_STEP_TASKS_PER_NODE=3,2(x2),1 SLURM_JOB_NODELIST=gpu[01-10],big[1-4]";
  private static final String STEP_HERE =
      "SLURM_JOB_ID=4711 SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_NODEID=0"
          + " SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NODELIST=gpu08 SLURM_STEP_TASKS_PER_NODE=2";
  private static final String OPEN_MPI =
      "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1"
          + " OMPI_COMM_WORLD_LOCAL_SIZE=4";
  private static final String HYDRA = "PMI_RANK=2 PMI_SIZE=4 MPI_LOCALRANKID=2 MPI_LOCALNRANKS=4";

  /** Variables between spaces; of one that stands twice the last counts, {@code -NAME} unsets. */
  private static Map<String, String> environment(String... lines) {
    Map<String, String> environment = new HashMap<>();
    for (String word : String.join(" ", lines).split(" ")) {
      if (word.startsWith("-")) {
        environment.remove(word.substring(1));
      } else if (!word.isEmpty()) {
        String[] parts = word.split("=", 2);
        environment.put(parts[0], parts[1]);
      }
    }
    return environment;
  }

  private static WorldEnvironment read(String... lines) {
    return WorldEnvironment.of(environment(lines), () -> 4321);
  }

  @Test
  public void nothingSetIsAlone() {
    assertEquals(read("HOME=/home/me PATH=/bin"), ALONE);
    assertTrue(ALONE.isAlone());
    // Not set is what is blank; a world of one needs no rank.
    assertEquals(read("RANK= PMI_RANK= WORLD_SIZE=1"), ALONE);
  }

  @Test
  public void torchrun() {
    WorldEnvironment world =
        read(
            TORCHRUN,
            "TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=3",
            "TORCHELASTIC_RUN_ID=abc");
    assertEquals(world, new WorldEnvironment(5, 8, 1, 4, "head", 29500, true, 3, "abc"));
    assertFalse(world.isAlone());
    assertEquals(
        read(TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE=False"),
        new WorldEnvironment(5, 8, 1, 4, "head", 29500, false, 0, ""));
    assertTrue(
        read("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=h MASTER_PORT=1")
            .isAlone());
  }

  @Test
  public void pyTorchJobHasNoLocalRank() {
    assertEquals(
        read("RANK=2 WORLD_SIZE=3 MASTER_ADDR=job-master-0 MASTER_PORT=23456 PYTHONUNBUFFERED=0"),
        new WorldEnvironment(2, 3, 0, 1, "job-master-0", 23456, false, 0, ""));
    assertEquals(
        read("RANK=2 WORLD_SIZE=3 MASTER_ADDR=a MASTER_PORT=1 LOCAL_WORLD_SIZE=1").localSize(), 1);
  }

  @Test
  public void slurmStep() {
    WorldEnvironment world = read(STEP);
    assertEquals(
        world, new WorldEnvironment(6, 8, 1, 2, "gpu08", world.masterPort(), false, 0, "4711.2"));
    assertTrue(world.masterPort() >= 20000 && world.masterPort() < 30000, world.toString());
    // All ranks of a step have one port, wherever they are, and no other step or job has it.
    assertEquals(
        read(STEP, "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0").masterPort(),
        world.masterPort());
    assertNotEquals(read(STEP, "SLURM_STEP_ID=3").masterPort(), world.masterPort());
    assertNotEquals(read(STEP, "SLURM_JOB_ID=4712").masterPort(), world.masterPort());
    assertEquals(read(STEP, "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0").localSize(), 3);
    assertEquals(read(STEP, "SLURM_RESTART_COUNT=2").restartCount(), 2);
    assertEquals(
        read(STEP, "MASTER_ADDR=other MASTER_PORT=1234"),
        new WorldEnvironment(6, 8, 1, 2, "other", 1234, false, 0, "4711.2"));
  }

  @Test
  public void slurmStepOnOneHostStaysThere() {
    WorldEnvironment world = read(STEP_HERE);
    assertEquals(
        world,
        new WorldEnvironment(1, 2, 1, 2, "127.0.0.1", world.masterPort(), false, 0, "4711.0"));
  }

  @Test
  public void slurmWithoutTasksPerNodeIsAsEvenAsCanBe() {
    String base =
        "SLURM_PROCID=1 SLURM_STEP_ID=0 SLURM_NTASKS=5 SLURM_LOCALID=1 SLURM_JOB_ID=1"
            + " SLURM_JOB_NODELIST=";
    assertEquals(read(base + "a[1-2]").localSize(), 3);
    assertEquals(read(base + "a[1-2]").masterAddress(), "a1");
    assertEquals(read(base + "a1").localSize(), 5);
  }

  /** A step's variables are what srun sets; the shells around it know of the job alone. */
  @Test
  public void shellOfAnAllocationIsAlone() {
    String job = "SLURM_JOB_ID=4711 SLURM_NTASKS=8 SLURM_NPROCS=8 SLURM_JOB_NODELIST=gpu[1-2]";
    assertEquals(read(job), ALONE);
    String batch =
        job + " SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_TASKS_PER_NODE=4(x2)";
    assertEquals(read(batch), ALONE);
    // Slurm numbers its own steps from above: the interactive one, the batch script's.
    assertEquals(read(batch, "SLURM_STEP_ID=4294967290"), ALONE);
    assertEquals(read(batch, "SLURM_STEPID=4294967291"), ALONE);
    assertTrue(read(batch, "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=1").isAlone());
    assertFalse(read(batch, "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=8").isAlone());
  }

  @Test
  public void openMpiOnOneHost() {
    WorldEnvironment world = read(OPEN_MPI, "PMIX_NAMESPACE=prterun-host-17@1");
    assertEquals(
        world,
        new WorldEnvironment(
            1, 4, 1, 4, "127.0.0.1", world.masterPort(), false, 0, "prterun-host-17@1"));
    assertNotEquals(
        read(OPEN_MPI, "PMIX_NAMESPACE=prterun-host-18@1").masterPort(), world.masterPort());
    int older = read(OPEN_MPI, "OMPI_MCA_ess_base_jobid=99").masterPort();
    assertEquals(
        read(OPEN_MPI, "OMPI_MCA_ess_base_jobid=99 OMPI_COMM_WORLD_RANK=0").masterPort(), older);
    assertEquals(read(OPEN_MPI).masterPort(), 24321, "the parent's number");
  }

  @Test
  public void openMpiOnSeveralHosts() {
    String two = OPEN_MPI + " OMPI_COMM_WORLD_SIZE=8 MASTER_ADDR=head MASTER_PORT=29500";
    assertEquals(read(two), new WorldEnvironment(1, 8, 1, 4, "head", 29500, false, 0, ""));
  }

  @Test
  public void hydra() {
    assertEquals(read(HYDRA), new WorldEnvironment(2, 4, 2, 4, "127.0.0.1", 24321, false, 0, ""));
    assertEquals(
        read(HYDRA, "PMI_SIZE=8 MASTER_ADDR=head MASTER_PORT=29500"),
        new WorldEnvironment(2, 8, 2, 4, "head", 29500, false, 0, ""));
    assertTrue(read("PMI_RANK=0 PMI_SIZE=1").isAlone());
  }

  /** What is nearest to the process counts: launchers run in each other. */
  @Test
  public void preference() {
    assertEquals(read(TORCHRUN, STEP, OPEN_MPI, HYDRA).rank(), 5);
    // mpirun reaches its hosts through steps of a task a host.
    assertEquals(read(STEP_HERE, OPEN_MPI).size(), 4);
    assertEquals(read(STEP_HERE, HYDRA).size(), 4);
    // srun --mpi=pmi2 sets PMI's variables beside its own, but none of Hydra's.
    assertEquals(read(STEP, "PMI_RANK=6 PMI_SIZE=8").localSize(), 2);
    // A script that exports a world's size and leaves the ranks to srun.
    assertEquals(read(STEP, "WORLD_SIZE=8").rank(), 6);
  }

  @DataProvider
  static Object[][] refusals() {
    return new Object[][] {
      {TORCHRUN + " RANK=8", "RANK is 8, but WORLD_SIZE is 8"},
      {TORCHRUN + " RANK=-1", "RANK is '-1', which is no whole number from 0 up"},
      {TORCHRUN + " RANK=one", "RANK is 'one', which is no whole number from 0 up"},
      {TORCHRUN + " WORLD_SIZE=0", "WORLD_SIZE is 0, but this process is one of them"},
      {"RANK=1", "RANK is 1, but WORLD_SIZE is not set"},
      {"WORLD_SIZE=4", "WORLD_SIZE is 4, but RANK is not set"},
      {TORCHRUN + " LOCAL_RANK=4", "LOCAL_RANK is 4, but LOCAL_WORLD_SIZE is 4"},
      {TORCHRUN + " LOCAL_WORLD_SIZE=9", "LOCAL_WORLD_SIZE is 9, but WORLD_SIZE is 8"},
      {TORCHRUN + " -LOCAL_WORLD_SIZE", "LOCAL_RANK is 1, but LOCAL_WORLD_SIZE is not set"},
      {TORCHRUN + " -LOCAL_RANK", "LOCAL_WORLD_SIZE is 4, but LOCAL_RANK is not set"},
      {TORCHRUN + " -MASTER_ADDR", "WORLD_SIZE is 8, but MASTER_ADDR is not set"},
      {TORCHRUN + " -MASTER_PORT", "WORLD_SIZE is 8, but MASTER_PORT is not set"},
      {TORCHRUN + " MASTER_PORT=http", "MASTER_PORT is 'http', which is no whole number from 0 up"},
      {TORCHRUN + " MASTER_PORT=70000", "MASTER_PORT is 70000, but ports are 1 to 65535"},
      {TORCHRUN + " MASTER_PORT=0", "MASTER_PORT is 0, but ports are 1 to 65535"},
      {STEP + " SLURM_PROCID=8", "SLURM_PROCID is 8, but SLURM_STEP_NUM_TASKS is 8"},
      {STEP + " SLURM_LOCALID=2", "SLURM_LOCALID is 2, but the number of this host's tasks is 2"},
      {STEP + " -SLURM_LOCALID", "SLURM_PROCID is 6, but SLURM_LOCALID is not set"},
      {
        STEP + " SLURM_STEP_NODELIST=gpu[8",
        "SLURM_STEP_NODELIST is 'gpu[8', which is no list of Slurm's"
      },
      {
        STEP + " -SLURM_STEP_NODELIST -SLURM_JOB_NODELIST",
        "SLURM_STEP_NUM_TASKS is 8, but SLURM_JOB_NODELIST is not set"
      },
      {
        OPEN_MPI + " -OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK is 1, but OMPI_COMM_WORLD_SIZE is not set"
      },
      {
        OPEN_MPI + " OMPI_COMM_WORLD_SIZE=8",
        "OMPI_COMM_WORLD_SIZE is 8 and OMPI_COMM_WORLD_LOCAL_SIZE is 4, so the ranks are on several"
            + " hosts, but MASTER_ADDR is not set"
      },
      {
        HYDRA + " PMI_SIZE=8 MASTER_ADDR=head",
        "PMI_SIZE is 8 and MPI_LOCALNRANKS is 4, so the ranks are on several hosts, but MASTER_PORT"
            + " is not set"
      },
      {"PMI_RANK=1 PMI_SIZE=2", "PMI_RANK is 1, but MPI_LOCALNRANKS is not set"},
    };
  }

  @Test(dataProvider = "refusals")
  public void contradictionsAreRefused(String line, String sentence) {
    IllegalArgumentException refused =
        expectThrows(IllegalArgumentException.class, () -> read(line));
    assertEquals(refused.getMessage(), sentence);
  }
}
