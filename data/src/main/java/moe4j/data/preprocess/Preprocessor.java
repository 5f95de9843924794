package moe4j.data.preprocess;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import moe4j.data.DType;
import moe4j.tokenizer.Tokenizer;

/**
 * Tokenises documents into {@code .bin/.idx} files, as Megatron's {@code preprocess_data} does. The
 * calling thread reads and writes, the workers tokenise batches between; batches are written in the
 * order in which they were read.
 *
 * <p>Megatron's rules: a text may be a list of sentences, each of which becomes a sequence of the
 * document; sentences without tokens are left out; the end of document is appended once to the last
 * sequence; a document without tokens keeps its place, with no sequence. Blank lines between JSON
 * objects are skipped.
 */
public final class Preprocessor {
  private static final int BATCH_BYTES = 1 << 18;
  private static final int BATCH_DOCUMENTS = 1 << 12;

  /** How much may wait for workers or the writer; one batch may always wait, whatever its size. */
  private static final long PENDING_BYTES = 1 << 26;

  /** The longest time without a report. */
  private static final long QUIET_NANOS = TimeUnit.SECONDS.toNanos(5);

  private record Batch(List<RawDocument> documents, long bytes) {}

  private record Pending(Batch batch, Future<List<EncodedDocuments>> encoded) {}

  private final PreprocessConfig config;
  private final PreprocessListener listener;
  private final long quietNanos;
  private final long start = System.nanoTime();
  private long reported = start;
  private long documents;
  private long bytes;

  private Preprocessor(PreprocessConfig config, PreprocessListener listener, long quietNanos) {
    this.config = config;
    this.listener = listener;
    this.quietNanos = quietNanos;
  }

  /**
   * Writes the files of each key. Where it throws, it leaves what it found.
   *
   * @param tokenizer used by all workers at once
   * @return what was written in all
   * @throws IOException in one sentence that names the file, and the line where there is one, if
   *     something cannot be read, encoded or written
   * @throws IllegalArgumentException if flags contradict each other or the inputs
   */
  public static Progress run(
      PreprocessConfig config, Tokenizer tokenizer, PreprocessListener listener)
      throws IOException, InterruptedException {
    return run(config, tokenizer, listener, QUIET_NANOS);
  }

  /** A preprocessor with another longest time between reports. */
  static Progress run(
      PreprocessConfig config, Tokenizer tokenizer, PreprocessListener listener, long quietNanos)
      throws IOException, InterruptedException {
    return new Preprocessor(config, listener, quietNanos).run(tokenizer);
  }

  private Progress run(Tokenizer tokenizer) throws IOException, InterruptedException {
    DocumentEncoder encoder = new DocumentEncoder(config.jsonKeys(), tokenizer, config.appendEod());
    List<Path> files = InputFiles.list(config.inputs(), config.outputPrefix());
    checkKeys(files);
    AtomicInteger threads = new AtomicInteger();
    ExecutorService workers =
        Executors.newFixedThreadPool(
            config.workers(),
            work -> {
              Thread thread = new Thread(work, "preprocess-" + threads.incrementAndGet());
              thread.setDaemon(true);
              return thread;
            });
    try (DocumentReader reader = new DocumentReader(files, config.textDocuments());
        Outputs outputs =
            Outputs.open(config, DType.forVocab(tokenizer.vocabSize()), listener::note)) {
      pump(reader, encoder, workers, outputs);
      if (documents == 0) {
        throw new IOException("--input %s holds no document".formatted(config.inputs()));
      }
      outputs.finish();
      return progress(outputs);
    } finally {
      workers.shutdownNow();
    }
  }

  private void checkKeys(List<Path> files) {
    if (config.jsonKeys().size() > 1) {
      files.stream()
          .filter(file -> !InputFiles.isJson(file))
          .findFirst()
          .ifPresent(
              file -> {
                throw new IllegalArgumentException(
                    "--json-keys %s: %s is plain text, which has no keys"
                        .formatted(String.join(" ", config.jsonKeys()), file));
              });
    }
  }

  private void pump(
      DocumentReader reader, DocumentEncoder encoder, ExecutorService workers, Outputs outputs)
      throws IOException, InterruptedException {
    Deque<Pending> pending = new ArrayDeque<>();
    long pendingBytes = 0;
    boolean more = true;
    while (more || !pending.isEmpty()) {
      while (more
          && (pending.isEmpty()
              || (pending.size() < 2 * config.workers() + 2 && pendingBytes < PENDING_BYTES))) {
        Batch batch = read(reader);
        more = !batch.documents.isEmpty();
        if (more) {
          pending.add(new Pending(batch, workers.submit(() -> encoder.encode(batch.documents))));
          pendingBytes += batch.bytes;
        }
      }
      if (!pending.isEmpty()) {
        Pending first = pending.remove();
        pendingBytes -= first.batch.bytes;
        write(first.batch, result(first.encoded, outputs), outputs);
      }
    }
  }

  private static Batch read(DocumentReader reader) throws IOException {
    List<RawDocument> documents = new ArrayList<>();
    long bytes = 0;
    while (bytes < BATCH_BYTES && documents.size() < BATCH_DOCUMENTS) {
      RawDocument document = reader.next();
      if (document == null) {
        break;
      }
      documents.add(document);
      bytes += document.bytes.length;
    }
    return new Batch(documents, bytes);
  }

  private List<EncodedDocuments> result(Future<List<EncodedDocuments>> encoded, Outputs outputs)
      throws IOException, InterruptedException {
    try {
      while (true) {
        try {
          return encoded.get(reported + quietNanos - System.nanoTime(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
          report(outputs);
        }
      }
    } catch (ExecutionException e) {
      if (e.getCause() instanceof IOException badInput) {
        throw badInput;
      }
      if (e.getCause() instanceof Error error) {
        throw error;
      }
      throw (RuntimeException) e.getCause();
    }
  }

  private void write(Batch batch, List<EncodedDocuments> encoded, Outputs outputs)
      throws IOException {
    for (int d = 0; d < batch.documents.size(); d++) {
      outputs.write(encoded, d);
      bytes += batch.documents.get(d).bytes.length;
      if (++documents % config.logInterval() == 0 || System.nanoTime() - reported > quietNanos) {
        report(outputs);
      }
    }
    listener.moved(progress(outputs));
  }

  private void report(Outputs outputs) {
    reported = System.nanoTime();
    listener.progress(progress(outputs));
  }

  private Progress progress(Outputs outputs) {
    return new Progress(documents, outputs.tokens(), bytes, (System.nanoTime() - start) / 1e9);
  }
}
