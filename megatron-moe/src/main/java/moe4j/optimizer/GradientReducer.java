package moe4j.optimizer;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import moe4j.parallel.Group;
import moe4j.parallel.Groups;
import moe4j.parallel.NonFinite;
import moe4j.parallel.ParallelConfig;
import moe4j.tensor.LeafHook;
import moe4j.tensor.Scopes;
import moe4j.tensor.TensorLists;
import moe4j.tensor.Tensors;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The gradients of a step where there are several ranks. Micro-batches are added up in flat
 * memories, one for each group of ranks that sums; after the last one they are summed over the
 * ranks, bucket by bucket. Gradients are not divided by the number of ranks, because the loss is.
 *
 * <p>With {@code --overlap-grad-reduce} a bucket's sum begins during the last micro-batch's
 * backward, as soon as all its parameters have their gradients. Buckets begin in the same order on
 * all ranks, in which a backward mostly comes to them: one that is complete waits for those before
 * it. A parameter that gets no gradient holds them up until the backward's end, when all that are
 * left begin.
 *
 * <p>With {@code --use-distributed-optimizer} (Rajbhandari et al. 2020, stage 1) each rank of a
 * group gets the sum of its part of a bucket only, and the parameters are moved to flat memories of
 * the same layout, in which the ranks' updated parts are gathered.
 *
 * <p>All of it stays where it is from step to step and asks the device nothing, so it can be a part
 * of captured graphs. What is begun has to be waited for in the same graph: where the sum overlaps
 * the backward, the last of several micro-batches is a graph of its own.
 */
final class GradientReducer implements StepGradients {
  /** Megatron's: small enough to begin early, large enough to be sent at full speed. */
  private static final double BUCKET = 40e6;

  private static final double BUCKET_PER_RANK = 1e6;

  /**
   * What this rank updates of a parameter: elements of the rank's own tensor, row-major.
   *
   * @param from the first
   * @param to behind the last
   * @param gradient their sum over the ranks, of the parameter's shape where it is all of it
   * @param value the elements in the flat memory, or null where parameters are not in one
   */
  record Segment(Parameter parameter, long from, long to, Tensor gradient, Tensor value) {}

  private final List<Parameter> parameters;
  private final ScalarType summed;
  private final Group world;
  private final boolean distributed;
  private final boolean overlap;
  private final List<GradientBucket> buckets = new ArrayList<>();
  private final List<Tensor> memories = new ArrayList<>();
  private final List<Tensor> owned = new ArrayList<>();
  private final List<Segment> segments = new ArrayList<>();
  private final List<LeafHook> hooks = new ArrayList<>();
  private final Tensor[] gradients;
  private final GradientBucket[] homes;

  /** The sum of this rank's own gradients in this step, and in the last one that was skipped. */
  private final Tensor ownSum;

  private final Tensor ownSumOfSkipped;

  private boolean announced;
  private boolean last;
  private int begun;
  private RuntimeException failure;

  /**
   * Takes a model's gradients over; with a distributed optimizer it moves the parameters.
   *
   * @param summed the type of the sums: fp32, or bf16
   */
  GradientReducer(ParameterSet set, ParallelConfig config, ScalarType summed) {
    Groups groups = set.groups();
    this.parameters = List.copyOf(set.all());
    this.summed = summed;
    this.world = groups.world();
    this.distributed = config.useDistributedOptimizer();
    this.overlap = config.overlapGradReduce();
    this.gradients = new Tensor[parameters.size()];
    this.homes = new GradientBucket[parameters.size()];
    this.ownSum = own(() -> Tensors.zeros(ScalarType.Float, set.device()));
    this.ownSumOfSkipped = own(() -> Tensors.zeros(ScalarType.Float, set.device()));
    long[] sizes = parameters.stream().mapToLong(p -> p.tensor().numel()).toArray();
    Map<Group, List<Integer>> bySum = new LinkedHashMap<>();
    for (int i = 0; i < sizes.length; i++) {
      Sharing sharing = Sharing.of(parameters.get(i), groups);
      bySum.computeIfAbsent(sharing.summed(), g -> new ArrayList<>()).add(i);
    }
    long bucketSize = bucketSize(config, groups);
    Tensor[] values = new Tensor[sizes.length];
    bySum.forEach((group, numbers) -> add(set, group, numbers, sizes, bucketSize, values));
    buckets.sort(Comparator.comparingInt((GradientBucket b) -> b.layout().last()).reversed());
    for (int i = 0; i < sizes.length; i++) {
      addSegment(i, values[i]);
    }
    if (overlap) {
      for (int i = 0; i < sizes.length; i++) {
        int number = i;
        hooks.add(new LeafHook(parameters.get(i).tensor(), g -> arrive(number, g)));
      }
    }
  }

  private static long bucketSize(ParallelConfig config, Groups groups) {
    if (config.ddpBucketSize() != null) {
      return config.ddpBucketSize();
    }
    return config.overlapGradReduce()
        ? (long) Math.max(BUCKET, BUCKET_PER_RANK * groups.layout().data())
        : Long.MAX_VALUE;
  }

  private Tensor own(Supplier<Tensor> made) {
    Tensor tensor = Scopes.keep(made);
    owned.add(tensor);
    return tensor;
  }

  /** Makes the memories of parameters whose gradients are summed over the same ranks. */
  private void add(
      ParameterSet set,
      Group group,
      List<Integer> numbers,
      long[] sizes,
      long bucketSize,
      Tensor[] values) {
    FlatLayout layout = FlatLayout.of(numbers, sizes, bucketSize, distributed ? group.size() : 1);
    Tensor memory = own(() -> Tensors.zeros(summed, set.device(), layout.size()));
    memories.add(memory);
    Tensor flat =
        distributed ? own(() -> Tensors.zeros(set.dtype(), set.device(), layout.size())) : null;
    for (FlatLayout.Bucket each : layout.buckets()) {
      GradientBucket bucket = new GradientBucket(group, each, memory, flat);
      buckets.add(bucket);
      for (FlatLayout.Place place : each.places()) {
        int i = place.parameter();
        Tensor tensor = parameters.get(i).tensor();
        homes[i] = bucket;
        gradients[i] =
            own(() -> memory.narrow(0, place.start(), place.size()).view(tensor.shape()));
        if (distributed) {
          values[i] = own(() -> flat.narrow(0, place.start(), place.size()));
          move(tensor, values[i]);
        }
      }
    }
  }

  /** Gives a parameter other memory, for all who hold it. */
  private static void move(Tensor parameter, Tensor memory) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Scopes.run(
          () -> {
            Tensor moved = memory.view(parameter.shape());
            moved.copy_(parameter);
            parameter.set_data(moved);
          });
    }
  }

  private void addSegment(int i, Tensor value) {
    Parameter parameter = parameters.get(i);
    long size = parameter.tensor().numel();
    if (!distributed) {
      segments.add(new Segment(parameter, 0, size, gradients[i], null));
      return;
    }
    GradientBucket home = homes[i];
    FlatLayout.Place place =
        home.layout().places().stream().filter(p -> p.parameter() == i).findFirst().orElseThrow();
    long[] range = place.within(home.ownStart(), home.ownStart() + home.ownSize());
    long length = range[1] - range[0];
    if (length == size) {
      long[] shape = parameter.tensor().shape();
      segments.add(new Segment(parameter, 0, size, gradients[i], own(() -> value.view(shape))));
    } else if (length > 0) {
      Tensor gradient = own(() -> gradients[i].view(-1).narrow(0, range[0], length));
      Tensor part = own(() -> value.narrow(0, range[0], length));
      segments.add(new Segment(parameter, range[0], range[1], gradient, part));
    }
  }

  /** What this rank updates, in the parameters' order. */
  List<Segment> segments() {
    return segments;
  }

  /** The gradients of all parameters; with a distributed optimizer only segments are summed. */
  List<Tensor> ofParameters() {
    return List.of(gradients);
  }

  /** Whether the last micro-batch's backward is another piece of work than the others'. */
  boolean overlaps() {
    return overlap;
  }

  @Override
  public boolean zeroedByUpdate() {
    // The update does not touch parts that other ranks update, so all memory is set to zero.
    return !distributed;
  }

  @Override
  public void beforeBackward(boolean isLast) {
    last = overlap && isLast;
    announced |= last;
    begun = 0;
    failure = null;
    buckets.forEach(GradientBucket::expect);
  }

  /** Is called in a backward, when a parameter's gradient has arrived. */
  private void arrive(int number, Tensor gradient) {
    if (!last || failure != null) {
      return;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      if (buckets.indexOf(homes[number]) < begun) {
        throw new IllegalStateException(
            "%s gets a second gradient in one backward: --overlap-grad-reduce has summed the first"
                .formatted(parameters.get(number).name()));
      }
      if (gradient.defined()) {
        gradients[number].add_(gradient);
      }
      homes[number].arrive(number);
      while (begun < buckets.size() && buckets.get(begun).isComplete()) {
        beginNext();
      }
    } catch (RuntimeException e) {
      // Out of a backward it would come as another exception.
      failure = e;
    }
  }

  private void beginNext() {
    GradientBucket bucket = buckets.get(begun++);
    bucket.addTo(ownSum);
    bucket.begin();
  }

  @Override
  public void accumulate() {
    if (failure != null) {
      throw failure;
    }
    try (NoGradGuard guard = new NoGradGuard()) {
      if (!last) {
        addAll();
      }
      // Only now: grad() is a view of the parameter's own handle, and is reset with it.
      reset();
      if (last) {
        sum();
        last = false;
      }
    }
  }

  private void addAll() {
    List<Tensor> targets = new ArrayList<>();
    List<Tensor> sources = new ArrayList<>();
    for (int i = 0; i < gradients.length; i++) {
      Tensor gradient = parameters.get(i).tensor().grad();
      if (gradient.defined()) {
        targets.add(gradients[i]);
        sources.add(gradient);
      }
    }
    if (!targets.isEmpty()) {
      TensorLists.add(targets, sources);
    }
  }

  private void sum() {
    Scopes.run(
        () -> {
          while (begun < buckets.size()) {
            beginNext();
          }
          buckets.forEach(GradientBucket::await);
        });
  }

  @Override
  public void reduce() {
    if (!overlap) {
      begun = 0;
      sum();
    } else if (!announced) {
      throw new IllegalStateException(
          "--overlap-grad-reduce, and no backward was announced as a step's last");
    }
  }

  /**
   * Is called after the update: gives all ranks all parameters, and sets the sums to zero for the
   * next step.
   *
   * @param foundInf 1 where the step was skipped
   */
  void endStep(Tensor foundInf) {
    ownSumOfSkipped.copy_(torch.where(foundInf.gt(new Scalar(0)), ownSum, ownSumOfSkipped));
    ownSum.zero_();
    if (distributed) {
      buckets.forEach(GradientBucket::beginGather);
      memories.forEach(Tensor::zero_);
      buckets.forEach(GradientBucket::await);
    }
  }

  /** Gives all ranks all parameters, where the optimizer is distributed. */
  void gather() {
    buckets.forEach(GradientBucket::beginGather);
    buckets.forEach(GradientBucket::await);
  }

  /**
   * The ranks of the world whose own gradients, before they were summed with others', were not
   * finite in the last step that was skipped; all ranks call it.
   */
  List<Integer> nonFiniteRanks() {
    return NonFinite.ranks(world, ownSumOfSkipped);
  }

  @Override
  public List<Tensor> orNull() {
    return all();
  }

  @Override
  public List<Tensor> all() {
    return segments.stream().map(Segment::gradient).toList();
  }

  @Override
  public void forget() {
    // The sums stay where they are, and nothing is at the parameters.
  }

  @Override
  public void abandon() {
    last = false;
    buckets.forEach(GradientBucket::expect);
    reset();
  }

  private void reset() {
    Scopes.run(() -> parameters.forEach(p -> p.tensor().mutable_grad().reset()));
  }

  @Override
  public void close() {
    hooks.forEach(LeafHook::close);
    reset();
    buckets.forEach(GradientBucket::close);
    owned.forEach(Tensor::close);
  }
}
