package moe4j.parallel;

import java.io.IOException;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.GlooDeviceVector;
import org.bytedeco.pytorch.PrefixStore;
import org.bytedeco.pytorch.ProcessGroupGloo;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.nccl.ProcessGroupNCCL;

/**
 * The processes of a run: who this one is, how it talks to the others, and who of them is still
 * there. Groups that it makes live as long as the process.
 */
public final class World implements AutoCloseable {
  /** A host's address for itself, which no other host reaches. */
  static final String LOOPBACK = "127.0.0.1";

  private final WorldEnvironment environment;
  private final Duration timeout;
  private final RankStore store;
  private final Liveness liveness;
  private final Group control;
  private int made;

  private World(WorldEnvironment environment, Duration timeout) {
    this.environment = environment;
    this.timeout = timeout;
    if (environment.isAlone()) {
      this.store = null;
      this.liveness = null;
      this.control = Group.alone();
      return;
    }
    // libtorch obeys TORCH_CPP_LOG_LEVEL only after this call, which Python's PyTorch makes, too.
    torch.initLogging();
    boolean server = environment.rank() == 0 && !environment.agentStore();
    this.store = RankStore.connect(environment, server, timeout);
    join();
    this.liveness = new Liveness(environment, timeout);
    this.control = group("control", all(), false);
  }

  /**
   * Joins the processes that an environment tells of; all of them do.
   *
   * @param timeout after which a process that does not come, or does not answer, is given up
   * @throws RankLostException where one does not come: one sentence that names it
   */
  public static World open(WorldEnvironment environment, Duration timeout) {
    return new World(environment, timeout);
  }

  /** A process by itself. */
  public static World alone() {
    return new World(
        new WorldEnvironment(0, 1, 0, 1, "127.0.0.1", 0, false, 0, "alone"),
        Duration.ofMinutes(10));
  }

  private void join() {
    long end = System.nanoTime() + timeout.toNanos();
    List<Integer> missing = missing();
    while (!missing.isEmpty() && System.nanoTime() < end) {
      pause();
      missing = missing();
    }
    if (missing.isEmpty()) {
      return;
    }
    throw new RankLostException(
        "rank %d: %s %s of %d %s not joined within %s s (--distributed-timeout-minutes)"
            .formatted(
                environment.rank(),
                missing.size() == 1 ? "rank" : "ranks",
                missing.stream().map(String::valueOf).collect(Collectors.joining(", ")),
                environment.size(),
                missing.size() == 1 ? "has" : "have",
                RankStore.seconds(timeout)),
        null);
  }

  /** The ranks that have not joined, this one having done so. */
  private List<Integer> missing() {
    try {
      store.set("joined/" + environment.rank(), "yes");
      return all().stream().filter(r -> !store.has("joined/" + r)).toList();
    } catch (RuntimeException e) {
      // Who holds the store may have given up a moment earlier.
      throw new RankLostException(
          "rank %d: %s is gone: it does not answer any more, while others were waited for"
              .formatted(
                  environment.rank(), environment.agentStore() ? "the launcher's agent" : "rank 0"),
          e);
    }
  }

  private static void pause() {
    try {
      Thread.sleep(50);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while other ranks were waited for", e);
    }
  }

  private List<Integer> all() {
    return IntStream.range(0, environment.size()).boxed().toList();
  }

  /** This process's number. */
  public int rank() {
    return environment.rank();
  }

  /** Processes in all. */
  public int size() {
    return environment.size();
  }

  /** Whether this process is the only one. */
  public boolean isAlone() {
    return environment.isAlone();
  }

  /** The variables that the launcher set. */
  public WorldEnvironment environment() {
    return environment;
  }

  /**
   * The groups of a layout.
   *
   * @param sequenceParallel {@link Groups#sequenceParallel}
   * @param nccl whether tensors are on GPUs that NCCL connects, one a rank
   */
  public Groups groups(Layout layout, boolean sequenceParallel, boolean nccl) {
    if (layout.world() != size()) {
      throw new IllegalArgumentException(
          "a layout of %d ranks does not fit the %d processes".formatted(layout.world(), size()));
    }
    if (isAlone()) {
      return Groups.single();
    }
    int r = rank();
    return new Groups(
        layout,
        sequenceParallel && layout.tensor() > 1,
        group("world", all(), nccl),
        group("tensor", layout.tensorRanks(r), nccl),
        group("data", layout.dataRanks(r), nccl),
        group("expert", layout.expertRanks(r), nccl),
        group("expert_tensor", layout.expertTensorRanks(r), nccl),
        group("expert_block", layout.expertBlockRanks(r), nccl),
        group("expert_data", layout.expertDataRanks(r), nccl));
  }

  /** A new group of some ranks, this one among them; all of them make it, as their next. */
  Group group(String name, List<Integer> ranks, boolean nccl) {
    if (ranks.size() == 1) {
      // It counts all the same, so that names are the same on every rank.
      made++;
      return Group.alone();
    }
    return new C10dGroup(
        backend(name, ranks, nccl), ranks.indexOf(rank()), ranks.size(), nccl, this::diagnose);
  }

  /** c10d's own backend for such a group. */
  Backend backend(String name, List<Integer> ranks, boolean nccl) {
    String unique = "%s_%d/%d".formatted(name, made++, ranks.get(0));
    int own = ranks.indexOf(rank());
    try {
      return Forever.hold(nccl ? nccl(unique, own, ranks.size()) : gloo(unique, own, ranks.size()));
    } catch (RuntimeException e) {
      throw diagnose(e);
    }
  }

  private Backend gloo(String name, int rank, int size) {
    PrefixStore prefixed = Forever.hold(store.forGroup(name));
    return Scopes.keep(
        () -> {
          ProcessGroupGloo.Options options =
              ProcessGroupGloo.Options.create(new Milliseconds(timeout.toMillis()));
          options.retainReference();
          var device = glooDevice();
          device.retainReference();
          GlooDeviceVector devices = new GlooDeviceVector(device);
          devices.retainReference();
          options.devices(devices).threads(2);
          Forever.hold(List.of(options, device, devices));
          return new ProcessGroupGloo(prefixed, rank, size, options);
        });
  }

  /**
   * Where Gloo listens: the interface that GLOO_SOCKET_IFNAME names, or with other hosts the one
   * towards rank 0, and without them the one that no other host reaches.
   */
  private org.bytedeco.pytorch.gloo.Device glooDevice() {
    String named = System.getenv("GLOO_SOCKET_IFNAME");
    if (named != null && !named.isBlank()) {
      return ProcessGroupGloo.createDeviceForInterface(named);
    }
    return ProcessGroupGloo.createDeviceForHostname(
        environment.isOneHost() ? LOOPBACK : towards(environment.masterAddress()));
  }

  private static String towards(String address) {
    try (DatagramSocket socket = new DatagramSocket()) {
      // No packet is sent: connecting chooses the route.
      socket.connect(new InetSocketAddress(InetAddress.getByName(address), 9));
      return socket.getLocalAddress().getHostAddress();
    } catch (IOException e) {
      throw new IllegalArgumentException(
          "MASTER_ADDR %s: %s".formatted(address, e.getMessage()), e);
    }
  }

  private Backend nccl(String name, int rank, int size) {
    PrefixStore prefixed = Forever.hold(store.forGroup(name));
    return Scopes.keep(
        () -> {
          ProcessGroupNCCL.Options options = ProcessGroupNCCL.Options.create(false);
          options.timeout(new Milliseconds(timeout.toMillis()));
          options.retainReference();
          Forever.hold(options);
          return new ProcessGroupNCCL(prefixed, rank, size, options);
        });
  }

  private RankLostException diagnose(RuntimeException failure) {
    return liveness == null
        ? new RankLostException("rank %d: %s".formatted(rank(), failure.getMessage()), failure)
        : liveness.diagnose(failure, timeout);
  }

  /** Tells the other ranks why this one ends. */
  public void leaveLastWords(String sentence) {
    if (liveness != null) {
      liveness.leave(sentence);
    }
  }

  /** The largest of the ranks' numbers, element by element; all ranks call it. */
  public long[] max(long... values) {
    if (isAlone()) {
      return values.clone();
    }
    try (PointerScope scope = new PointerScope()) {
      Tensor tensor = Tensors.of(values);
      control.allReduce(tensor, Group.Reduction.MAX).await();
      return Tensors.longs(tensor);
    }
  }

  /** Waits for all ranks. */
  public void barrier() {
    long[] all = max(0);
    assert all[0] == 0;
  }

  /** Every rank's bytes, in the ranks' order; all ranks call it. */
  public List<byte[]> exchange(byte[] own) {
    if (isAlone()) {
      return List.of(own);
    }
    long[] lengths = new long[size()];
    lengths[rank()] = own.length;
    lengths = max(lengths);
    // A multiple of eight, so that they travel as longs.
    int longest = (int) ((max(own.length)[0] + 7) / 8);
    ByteBuffer padded = ByteBuffer.allocate(longest * 8).put(own).rewind();
    long[] words = new long[longest];
    padded.asLongBuffer().get(words);
    List<byte[]> all = new ArrayList<>();
    try (PointerScope scope = new PointerScope()) {
      Tensor input = longest == 0 ? Tensors.of(new long[1]) : Tensors.of(words);
      Tensor output = Tensors.zeros(ScalarType.Long, new Device("cpu"), size() * input.numel());
      control.allGather(output, input).await();
      long each = input.numel();
      for (int r = 0; r < size(); r++) {
        long[] theirs = new long[(int) each];
        new LongPointer(output.data_ptr()).position(r * each).get(theirs);
        ByteBuffer bytes = ByteBuffer.allocate(theirs.length * 8);
        bytes.asLongBuffer().put(theirs);
        byte[] exact = new byte[(int) lengths[r]];
        bytes.get(exact);
        all.add(exact);
      }
    }
    return all;
  }

  @Override
  public void close() {
    if (liveness != null) {
      liveness.close();
    }
  }
}
