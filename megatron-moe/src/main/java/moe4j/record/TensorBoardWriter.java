package moe4j.record;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Clock;
import java.util.Locale;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * Writes an event file that TensorBoard reads: records in TFRecord's frame (length, its checksum,
 * payload, its checksum), each payload an {@code Event} message of
 * tensorflow/core/util/event.proto. Every record is handed to the operating system at once. Tags
 * are Megatron's.
 */
public final class TensorBoardWriter implements RunRecord {
  private final Clock clock;
  private final WholeRecords records;

  TensorBoardWriter(Path directory, Clock clock) throws IOException {
    Files.createDirectories(directory);
    String stem =
        String.format(
            Locale.ROOT,
            "events.out.tfevents.%010d.%s.%d",
            clock.millis() / 1000,
            host(),
            ProcessHandle.current().pid());
    Path free = directory.resolve(stem + ".0");
    for (int i = 1; Files.exists(free); i++) {
      free = directory.resolve(stem + "." + i);
    }
    this.clock = clock;
    this.records =
        new WholeRecords(
            free, FileChannel.open(free, StandardOpenOption.CREATE_NEW, StandardOpenOption.APPEND));
    write(event(0).text(3, "brain.Event:2"));
  }

  /**
   * Begins an event file of its own in a directory. One for a resumed run does not ask TensorBoard
   * to forget the steps that will be done again: it would forget by the number alone, and with it
   * everything that Megatron draws over samples and not over steps.
   *
   * @throws IOException if the directory cannot be written to
   */
  public static TensorBoardWriter create(Path directory) throws IOException {
    return new TensorBoardWriter(directory, Clock.systemUTC());
  }

  private static String host() {
    try {
      return InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException e) {
      // A machine whose own name does not resolve can train all the same.
      return "localhost";
    }
  }

  @Override
  public Path file() {
    return records.file();
  }

  /** One point of a curve. */
  public void scalar(String tag, double value, long step) throws IOException {
    summary(step, new ProtoBytes().text(1, tag).float32(2, (float) value));
  }

  /**
   * A histogram of finite values, in 30 buckets of equal width.
   *
   * @throws IllegalArgumentException if there is no value
   */
  public void histogram(String tag, double[] values, long step) throws IOException {
    if (values.length == 0) {
      throw new IllegalArgumentException("histogram of no value: " + tag);
    }
    double min = Double.POSITIVE_INFINITY;
    double max = Double.NEGATIVE_INFINITY;
    double sum = 0;
    double squares = 0;
    for (double value : values) {
      min = Math.min(min, value);
      max = Math.max(max, value);
      sum += value;
      squares += value * value;
    }
    double[] limits = new double[30];
    double[] counts = new double[30];
    double width = max > min ? (max - min) / 30 : 1.0 / 30;
    for (int i = 0; i < 30; i++) {
      limits[i] = i == 29 && max > min ? max : min + width * (i + 1);
    }
    for (double value : values) {
      counts[Math.min(29, (int) ((value - min) / width))]++;
    }
    ProtoBytes histogram =
        new ProtoBytes()
            .float64(1, min)
            .float64(2, max)
            .float64(3, values.length)
            .float64(4, sum)
            .float64(5, squares)
            .packed(6, limits)
            .packed(7, counts);
    summary(step, new ProtoBytes().text(1, tag).message(5, histogram));
  }

  /** A log interval's values under Megatron's tags, by step and by samples. */
  @Override
  public void train(IterationRecord it) throws IOException {
    both("learning-rate", it.learningRate(), it);
    both("batch-size", (double) it.globalBatchSize(), it);
    for (Map.Entry<String, Double> loss : it.losses().entrySet()) {
      both(loss.getKey(), loss.getValue(), it);
    }
    both("loss-scale", it.lossScale(), it);
    both("grad-norm", it.gradNorm(), it);
    both("num-zeros", it.numZeros() == null ? null : (double) it.numZeros(), it);
    both("params-norm", it.paramsNorm(), it);
    scalar("iteration-time", it.millisPerIteration() / 1000, it.iteration());
    one("throughput", it.teraflops(), it);
    scalar("tokens-per-second", it.tokensPerSecond(), it.iteration());
    one("mfu", it.mfu(), it);
    scalar("live-native-pointers", (double) it.livePointers(), it.iteration());
    if (it.experts() != null) {
      scalar("moe/max-mean-expert-load", it.experts().maxOverMean(), it.iteration());
      scalar("moe/expert-load-cv", it.experts().cv(), it.iteration());
      scalar("moe/dropped-share", it.experts().droppedShare(), it.iteration());
    }
    for (Map.Entry<String, Double> figure : it.figures().entrySet()) {
      scalar("moe/" + dashed(figure.getKey()), figure.getValue(), it.iteration());
    }
  }

  /** An evaluation's losses and perplexities under Megatron's tags, one a step. */
  @Override
  public void validation(ValidationRecord record) throws IOException {
    if (record.set() == ValidationRecord.Set.AGAIN) {
      return;
    }
    String set = record.set() == ValidationRecord.Set.TEST ? " test" : " validation";
    for (Map.Entry<String, Double> loss : record.losses().entrySet()) {
      String tag = loss.getKey() + set;
      double ppl = ValidationRecord.perplexity(loss.getValue());
      scalar(tag, loss.getValue(), record.iteration());
      scalar(tag + " vs samples", loss.getValue(), record.consumedSamples());
      scalar(tag + " ppl", ppl, record.iteration());
      scalar(tag + " ppl vs samples", ppl, record.consumedSamples());
    }
  }

  /**
   * What the experts of each layer did: the load's figures, each expert's load over the mean as a
   * histogram, and the layer's losses and figures.
   */
  @Override
  public void expertLoad(int step, long consumedSamples, ExpertLoad load) throws IOException {
    for (ExpertLoad.Layer layer : load.layers()) {
      String of = "_layer_" + layer.layer();
      scalar("moe/max-mean-expert-load" + of, layer.maxOverMean(), step);
      scalar("moe/expert-load-cv" + of, layer.cv(), step);
      scalar("moe/dropped-share" + of, layer.droppedShare(), step);
      for (Map.Entry<String, Double> loss : layer.losses().entrySet()) {
        scalar("moe/" + loss.getKey() + of, loss.getValue(), step);
      }
      for (Map.Entry<String, Double> figure : layer.figures().entrySet()) {
        scalar("moe/" + dashed(figure.getKey()) + of, figure.getValue(), step);
      }
      double[] relative = new double[layer.tokens().size()];
      for (int e = 0; e < relative.length; e++) {
        relative[e] = layer.relative(e);
      }
      histogram("moe/expert-load" + of, relative, step);
    }
  }

  /** An event file ends as it is. */
  @Override
  public void end(int step, long consumedSamples, String reason) {}

  private static String dashed(String name) {
    return name.replace(' ', '-');
  }

  private void one(String tag, Double value, IterationRecord it) throws IOException {
    if (value != null) {
      scalar(tag, value, it.iteration());
    }
  }

  private void both(String tag, Double value, IterationRecord it) throws IOException {
    if (value != null) {
      scalar(tag, value, it.iteration());
      scalar(tag + " vs samples", value, it.consumedSamples());
    }
  }

  private void summary(long step, ProtoBytes value) throws IOException {
    write(event(step).message(5, new ProtoBytes().message(1, value)));
  }

  private ProtoBytes event(long step) {
    ProtoBytes event = new ProtoBytes().float64(1, clock.millis() / 1000.0);
    return step == 0 ? event : event.int64(2, step);
  }

  private void write(ProtoBytes event) throws IOException {
    records.append(frame(event.toByteArray()));
  }

  /** A payload in TFRecord's frame. */
  static byte[] frame(byte[] payload) {
    byte[] length = ProtoBytes.littleEndian(payload.length, 8);
    ByteArrayOutputStream record = new ByteArrayOutputStream(payload.length + 16);
    record.writeBytes(length);
    record.writeBytes(ProtoBytes.littleEndian(maskedCrc(length), 4));
    record.writeBytes(payload);
    record.writeBytes(ProtoBytes.littleEndian(maskedCrc(payload), 4));
    return record.toByteArray();
  }

  /** CRC32C, rotated and shifted so that checksums of checksums stay useful, as TFRecord does. */
  static int maskedCrc(byte[] bytes) {
    CRC32C crc = new CRC32C();
    crc.update(bytes);
    return Integer.rotateRight((int) crc.getValue(), 15) + 0xa282ead8;
  }

  @Override
  public void close() throws IOException {
    records.close();
  }
}
