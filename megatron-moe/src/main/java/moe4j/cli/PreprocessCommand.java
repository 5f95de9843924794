package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.console.ProgressLine;
import moe4j.console.Screen;
import moe4j.data.preprocess.PreprocessConfig;
import moe4j.data.preprocess.PreprocessListener;
import moe4j.data.preprocess.Preprocessor;
import moe4j.data.preprocess.Progress;
import moe4j.data.preprocess.TextDocuments;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;

/**
 * {@code moe4j preprocess}: text to {@code .bin/.idx}, as Megatron's preprocess_data.
 *
 * <pre>
 * moe4j preprocess --input corpus.jsonl.gz --output-prefix data/corpus \
 *   --tokenizer-type GPT2BPETokenizer --append-eod --workers 2
 * </pre>
 */
public final class PreprocessCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(
              help =
                  "files or directories: .jsonl and .json hold a JSON object a line, all others are"
                      + " plain text; .gz behind either",
              required = true)
          List<String> input,
      @Flag(help = "files are PREFIX_KEY_document.bin and .idx; no directory", required = true)
          String outputPrefix,
      @Flag(help = "replace files that are there already, once the new ones are whole")
          boolean overwrite,
      @Flag(help = "keys of the JSON objects to tokenise", otherwise = "text")
          List<String> jsonKeys,
      @Flag(
              help = "what a document of plain text is: a whole file, or what blank lines separate",
              value = "file",
              choices = {"file", "paragraph"})
          String textDocuments,
      @Flag(help = "end each document with the tokenizer's end of document") boolean appendEod,
      @Flag(help = "threads that tokenise; the files are the same for any number", value = "1")
          int workers,
      @Flag(help = "documents between reports, which come every 5 seconds at least", value = "1000")
          int logInterval,
      @Flag(help = "tokenizer, by Megatron's names", required = true) String tokenizerType,
      @Flag(help = "file or directory of the tokenizer") String tokenizerModel,
      @Flag(help = "GPT-2's vocab.json") String vocabFile,
      @Flag(help = "GPT-2's merges.txt") String mergeFile,
      @Flag(help = "vocabulary of NullTokenizer") Integer vocabSize,
      @Flag(
              help =
                  "a tokenizer.json's special tokens, such as a beginning of sentence, are left out")
          boolean tokenizerHfNoIncludeSpecialTokens) {}

  @Override
  public String name() {
    return "preprocess";
  }

  @Override
  public String summary() {
    return "tokenise JSON lines or plain text into .bin/.idx files";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException, InterruptedException {
    Options options = parsed.get(Options.class);
    Tokenizer tokenizer =
        Tokenizers.of(
            new TokenizerConfig(
                options.tokenizerType(),
                path(options.tokenizerModel()),
                path(options.vocabFile()),
                path(options.mergeFile()),
                options.vocabSize(),
                !options.tokenizerHfNoIncludeSpecialTokens()));
    PreprocessConfig config =
        new PreprocessConfig(
            options.input().stream().map(Path::of).toList(),
            TextDocuments.valueOf(options.textDocuments().toUpperCase(Locale.ROOT)),
            options.jsonKeys().isEmpty() ? List.of("text") : options.jsonKeys(),
            options.appendEod(),
            options.workers(),
            PreprocessConfig.outputPrefix(options.outputPrefix()),
            options.logInterval(),
            options.overwrite());
    Progress all;
    try (Reports reports = new Reports()) {
      all = Preprocessor.run(config, tokenizer, reports);
    }
    System.out.println(describe(all));
    config.jsonKeys().forEach(key -> System.out.println(config.prefix(key)));
    return 0;
  }

  /** On a terminal a line that moves; elsewhere lines on standard error. */
  private static final class Reports implements PreprocessListener, AutoCloseable {
    private final ProgressLine line =
        ProgressLine.of("", new ProgressLine.Count("document", 0, "doc", 1));

    @Override
    public void progress(Progress progress) {
      if (!Screen.current().isTerminal()) {
        System.err.println(describe(progress));
      }
    }

    @Override
    public void moved(Progress progress) {
      line.figure(
          String.format(
              Locale.ROOT,
              "%s tokens | %.2f MB/s",
              ProgressLine.brief((double) progress.tokens()),
              progress.megabytesPerSecond()));
      line.done(progress.documents());
    }

    @Override
    public void close() {
      line.close();
    }

    @Override
    public void note(String sentence) {
      System.err.println(sentence);
    }
  }

  private static Path path(String name) {
    return name == null ? null : Path.of(name);
  }

  private static String describe(Progress progress) {
    return String.format(
        Locale.ROOT,
        "Processed %d documents, %d tokens (%.1f docs/s, %.2f MB/s).",
        progress.documents(),
        progress.tokens(),
        progress.documentsPerSecond(),
        progress.megabytesPerSecond());
  }
}
