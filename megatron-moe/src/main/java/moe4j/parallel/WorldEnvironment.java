package moe4j.parallel;

import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;

/**
 * What this process's environment says about the processes it trains with: how many there are,
 * which of them it is, and where they meet.
 *
 * <p>Read are, the first that is there:
 *
 * <ol>
 *   <li>{@code RANK} and what belongs to it, which torchrun, Kubernetes' PyTorchJob and {@code
 *       moe4j launch} set;
 *   <li>what {@code mpirun} sets: Open MPI's {@code OMPI_COMM_WORLD_RANK}, or {@code PMI_RANK} with
 *       {@code MPI_LOCALRANKID} (Hydra: MPICH, Intel MPI). It stands before Slurm's since {@code
 *       mpirun} may reach its hosts through steps of Slurm's, whose numbers are not the ranks';
 *   <li>what Slurm's {@code srun} sets, in a step; the shells of {@code salloc} and {@code sbatch}
 *       also know of the job's tasks, but are one process.
 * </ol>
 *
 * <p>With none of them the process is alone. {@code MASTER_ADDR} and {@code MASTER_PORT} count
 * under all of them. Where they are not set:
 *
 * <ul>
 *   <li>torchrun's kind needs them;
 *   <li>a step of Slurm's meets at its first host ({@code 127.0.0.1} where there is but one), at a
 *       port made of the numbers of job and step;
 *   <li>{@code mpirun} needs them for several hosts. On one host it is {@code 127.0.0.1}, and a
 *       port made of what the ranks share and other jobs do not: {@code PMIX_NAMESPACE}, else
 *       {@code OMPI_MCA_ess_base_jobid}, else the number of the parent process, which {@code
 *       mpirun}, its daemon or Hydra's proxy is, unless a program between them starts each rank.
 * </ul>
 *
 * <p>Such ports lie between 20000 and 29999, below those that systems give away themselves.
 *
 * @param rank this process's number, from 0
 * @param size how many processes there are
 * @param localRank this process's number on its host, from 0
 * @param localSize how many processes this host has
 * @param masterAddress the host where they meet
 * @param masterPort the port where they meet; 0 for a process alone that was given none
 * @param agentStore whether the store at that port is served by what started the processes, so that
 *     rank 0 is a client of it like the others
 * @param restartCount how often the processes were started anew
 * @param runId a name that the processes of a run share; may be empty
 */
public record WorldEnvironment(
    int rank,
    int size,
    int localRank,
    int localSize,
    String masterAddress,
    int masterPort,
    boolean agentStore,
    int restartCount,
    String runId) {

  private static final String HERE = "127.0.0.1";
  private static final String ADDRESS = "MASTER_ADDR";
  private static final String PORT = "MASTER_PORT";
  private static final int FIRST_PORT = 20_000;
  private static final int PORTS = 10_000;

  /** Step numbers from this one on are Slurm's own: a batch script, an allocation's shell. */
  private static final long RESERVED_STEPS = 0xffff_fff0L;

  /** Checks that the numbers can be. */
  public WorldEnvironment {
    if (rank < 0 || rank >= size) {
      throw new IllegalArgumentException("rank %d of %d".formatted(rank, size));
    } else if (localRank < 0 || localRank >= localSize || localSize > size) {
      throw new IllegalArgumentException(
          "rank %d of %d on its host, %d in all".formatted(localRank, localSize, size));
    }
  }

  /**
   * Reads it.
   *
   * @param environment as {@link System#getenv()} gives it
   * @throws IllegalArgumentException for contradictions and what is missing: one sentence with the
   *     variable and its value
   */
  public static WorldEnvironment of(Map<String, String> environment) {
    return of(
        environment, () -> ProcessHandle.current().parent().map(ProcessHandle::pid).orElse(0L));
  }

  /** The same with the number of the parent process. */
  static WorldEnvironment of(Map<String, String> environment, LongSupplier parent) {
    Variables variables = new Variables(environment);
    if (variables.has("RANK")) {
      return torchrun(variables);
    } else if (variables.has("OMPI_COMM_WORLD_RANK")) {
      return mpi(
          variables,
          parent,
          "OMPI_COMM_WORLD_RANK",
          "OMPI_COMM_WORLD_SIZE",
          "OMPI_COMM_WORLD_LOCAL_RANK",
          "OMPI_COMM_WORLD_LOCAL_SIZE");
    } else if (variables.has("PMI_RANK") && variables.has("MPI_LOCALRANKID")) {
      return hydra(variables, parent);
    } else if (isStep(variables)) {
      return slurm(variables);
    } else if (variables.has("PMI_RANK")) {
      return hydra(variables, parent);
    } else if (variables.number("WORLD_SIZE").orElse(1) != 1) {
      throw variables.missing("RANK", "WORLD_SIZE");
    }
    return new WorldEnvironment(0, 1, 0, 1, HERE, 0, false, 0, "");
  }

  /** Whether there is no other process. */
  public boolean isAlone() {
    return size == 1;
  }

  /**
   * Whether all processes are on this host, so that nobody else has to reach them: they can listen
   * at its own address alone.
   */
  public boolean isOneHost() {
    return localSize == size;
  }

  private static WorldEnvironment torchrun(Variables variables) {
    int size = variables.count("WORLD_SIZE", "RANK");
    int rank = variables.below("RANK", "WORLD_SIZE", "WORLD_SIZE", size);
    int localRank = 0;
    int localSize = 1;
    // PyTorchJob has a process a pod, and sets no LOCAL_RANK.
    if (variables.has("LOCAL_RANK") || variables.number("LOCAL_WORLD_SIZE").orElse(1) != 1) {
      localSize = variables.count("LOCAL_WORLD_SIZE", "LOCAL_RANK");
      localRank = variables.below("LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_WORLD_SIZE", localSize);
      variables.refuseMore("LOCAL_WORLD_SIZE", localSize, "WORLD_SIZE", size);
    }
    if (size > 1 && !variables.has(ADDRESS)) {
      throw variables.missing(ADDRESS, "WORLD_SIZE");
    } else if (size > 1 && !variables.has(PORT)) {
      throw variables.missing(PORT, "WORLD_SIZE");
    }
    return new WorldEnvironment(
        rank,
        size,
        localRank,
        localSize,
        variables.text(ADDRESS).orElse(HERE),
        variables.port(PORT).orElse(0),
        // torchrun writes it as Python does.
        variables.text("TORCHELASTIC_USE_AGENT_STORE").orElse("").equalsIgnoreCase("true"),
        variables.number("TORCHELASTIC_RESTART_COUNT").orElse(0),
        variables.text("TORCHELASTIC_RUN_ID").orElse(""));
  }

  private static WorldEnvironment hydra(Variables variables, LongSupplier parent) {
    return mpi(variables, parent, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  }

  private static WorldEnvironment mpi(
      Variables variables,
      LongSupplier parent,
      String rankName,
      String sizeName,
      String localRankName,
      String localSizeName) {
    int size = variables.count(sizeName, rankName);
    int rank = variables.below(rankName, sizeName, sizeName, size);
    int localRank = 0;
    int localSize = 1;
    if (size > 1 || variables.has(localRankName)) {
      localSize = variables.count(localSizeName, rankName);
      localRank = variables.below(localRankName, rankName, localSizeName, localSize);
      variables.refuseMore(localSizeName, localSize, sizeName, size);
    }
    if (localSize != size) {
      for (String name : List.of(ADDRESS, PORT)) {
        if (!variables.has(name)) {
          throw new IllegalArgumentException(
              "%s is %d and %s is %d, so the ranks are on several hosts, but %s is not set"
                  .formatted(sizeName, size, localSizeName, localSize, name));
        }
      }
    }
    String job = variables.first("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid").orElse("");
    int shared = job.isEmpty() ? Long.hashCode(parent.getAsLong()) : job.hashCode();
    return new WorldEnvironment(
        rank,
        size,
        localRank,
        localSize,
        variables.text(ADDRESS).orElse(HERE),
        variables.port(PORT).orElseGet(() -> derivedPort(shared)),
        false,
        0,
        job);
  }

  /**
   * Whether this is a task of a step. A batch script and the shell of an allocation have a {@code
   * SLURM_PROCID} too, and {@code SLURM_NTASKS}, which is then the job's.
   */
  private static boolean isStep(Variables variables) {
    if (!variables.has("SLURM_PROCID")) {
      return false;
    }
    String step = variables.first("SLURM_STEP_ID", "SLURM_STEPID").orElse("");
    return step.isEmpty()
        ? variables.has("SLURM_STEP_NUM_TASKS")
        : step.matches("\\d{1,10}") && Long.parseLong(step) < RESERVED_STEPS;
  }

  private static WorldEnvironment slurm(Variables variables) {
    String sizeName =
        variables.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    int size = variables.count(sizeName, "SLURM_PROCID");
    int rank = variables.below("SLURM_PROCID", sizeName, sizeName, size);
    String listName =
        variables.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
    List<String> hosts =
        variables.text(listName).map(list -> HostList.hosts(listName, list)).orElse(List.of());
    if (hosts.isEmpty() && size > 1 && !variables.has(ADDRESS)) {
      throw variables.missing(listName, sizeName);
    }
    int localSize = slurmLocalSize(variables, size, hosts.size());
    int localRank = 0;
    if (size > 1) {
      localRank =
          variables.below(
              "SLURM_LOCALID", "SLURM_PROCID", "the number of this host's tasks", localSize);
    }
    String first = localSize == size || hosts.isEmpty() ? HERE : hosts.get(0);
    String job = variables.first("SLURM_JOB_ID", "SLURM_JOBID").orElse("0");
    String step = variables.first("SLURM_STEP_ID", "SLURM_STEPID").orElse("0");
    // Jobs that follow each other are far apart, the steps of one beside each other.
    int shared = job.hashCode() * 7919 + step.hashCode();
    return new WorldEnvironment(
        rank,
        size,
        localRank,
        localSize,
        variables.text(ADDRESS).orElse(first),
        variables.port(PORT).orElseGet(() -> derivedPort(shared)),
        false,
        variables.number("SLURM_RESTART_COUNT").orElse(0),
        job + "." + step);
  }

  /** This host's tasks, as the step's list says; without it they are as even as they can be. */
  private static int slurmLocalSize(Variables variables, int size, int hosts) {
    String name = "SLURM_STEP_TASKS_PER_NODE";
    if (size > 1 && variables.has(name) && variables.has("SLURM_NODEID")) {
      List<Integer> tasks = HostList.tasks(name, variables.text(name).orElseThrow());
      int host =
          variables.below("SLURM_NODEID", name, "the number of hosts in " + name, tasks.size());
      int local = tasks.get(host);
      variables.refuseMore(name, local, "the number of the step's tasks", size);
      return local;
    }
    return hosts == 0 ? size : Math.min(size, (size + hosts - 1) / hosts);
  }

  private static int derivedPort(int shared) {
    return FIRST_PORT + Math.floorMod(shared, PORTS);
  }
}
