package moe4j.tokenizer;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;

/**
 * Hugging Face's tokenizers library, through DJL, on a local {@code tokenizer.json}. The native
 * library comes in DJL's jar and is unpacked once, below the directory that the environment
 * variable {@code DJL_CACHE_DIR} names or the home directory.
 */
final class HfTokenizer implements Tokenizer {
  private final HuggingFaceTokenizer tokenizer;
  private final boolean includeSpecialTokens;
  private final String path;
  private final int vocabSize;
  private final int eod;
  private final int pad;

  private HfTokenizer(
      HuggingFaceTokenizer tokenizer,
      boolean includeSpecialTokens,
      Path model,
      HfVocabulary vocabulary) {
    this.tokenizer = tokenizer;
    this.includeSpecialTokens = includeSpecialTokens;
    this.path = model.toString();
    // Not the vocabulary itself, which holds the whole file.
    this.vocabSize = vocabulary.size();
    this.eod = vocabulary.eod();
    this.pad = vocabulary.pad();
  }

  /**
   * @param model {@code --tokenizer-model}: the file or its directory
   * @param includeSpecialTokens whether {@link #encode} adds the post-processor's tokens
   */
  static HfTokenizer of(Path model, boolean includeSpecialTokens) throws IOException {
    if (model == null) {
      throw new IllegalArgumentException(
          "--tokenizer-type HuggingFaceTokenizer needs --tokenizer-model, a tokenizer.json or its directory");
    }
    HfVocabulary vocabulary = HfVocabulary.read(model);
    loadLibrary();
    try {
      // Length belongs to the dataset: whatever the file says, nothing is cut or padded here.
      Map<String, String> options = Map.of("truncation", "false", "padding", "false");
      return new HfTokenizer(
          // What was checked and not the file, which may hold a name twice or have changed.
          HuggingFaceTokenizer.newInstance(
              new ByteArrayInputStream(
                  vocabulary.tokenizer().toString().getBytes(StandardCharsets.UTF_8)),
              options),
          includeSpecialTokens,
          model,
          vocabulary);
    } catch (RuntimeException refused) {
      throw new IOException(
          "--tokenizer-model %s cannot be used: %s".formatted(model, refused.getMessage()),
          refused);
    }
  }

  private static void loadLibrary() throws IOException {
    // Without this DJL reports to its makers, and where it sees a GPU downloads another library.
    System.setProperty("ai.djl.offline", "true");
    try {
      LibUtils.checkStatus();
    } catch (RuntimeException | LinkageError failed) {
      Throwable cause = failed.getCause() == null ? failed : failed.getCause();
      throw new IOException(
          "HuggingFaceTokenizer's native library cannot be loaded (DJL_CACHE_DIR names where it is unpacked): "
              + cause,
          failed);
    }
  }

  /** Straight through the native interface: DJL's own encode also makes strings and spans. */
  @Override
  public int[] encode(String text) {
    TokenizersLibrary library = TokenizersLibrary.LIB;
    try {
      long encoding =
          library.encode(tokenizer.getHandle(), Utf16.wellFormed(text), includeSpecialTokens);
      try {
        return Arrays.stream(library.getTokenIds(encoding)).mapToInt(Math::toIntExact).toArray();
      } finally {
        library.deleteEncoding(encoding);
      }
    } finally {
      Reference.reachabilityFence(tokenizer);
    }
  }

  /** Without what the post-processor appends, such as an end of sentence. */
  @Override
  public int[] encodePrompt(String text) {
    TokenizersLibrary library = TokenizersLibrary.LIB;
    try {
      long encoding =
          library.encode(tokenizer.getHandle(), Utf16.wellFormed(text), includeSpecialTokens);
      try {
        long[] added = library.getSpecialTokenMask(encoding);
        int end = added.length;
        while (end > 0 && added[end - 1] != 0) {
          end--;
        }
        // In an empty text, tokens put before it cannot be told from tokens put after it.
        return end == 0
            ? new int[0]
            : Arrays.stream(library.getTokenIds(encoding), 0, end)
                .mapToInt(Math::toIntExact)
                .toArray();
      } finally {
        library.deleteEncoding(encoding);
      }
    } finally {
      Reference.reachabilityFence(tokenizer);
    }
  }

  @Override
  public String decode(int[] tokens) {
    Vocabulary.check(tokens, vocabSize());
    return tokenizer.decode(Arrays.stream(tokens).asLongStream().toArray(), false);
  }

  @Override
  public int vocabSize() {
    return vocabSize;
  }

  @Override
  public int eod() {
    return eod;
  }

  @Override
  public int pad() {
    return pad;
  }

  @Override
  public Map<String, Object> identity() {
    Map<String, Object> identity = Vocabulary.identity("_HuggingFaceTokenizer", path);
    if (!includeSpecialTokens) {
      identity.put("include_special_tokens", "False");
    }
    return Collections.unmodifiableMap(identity);
  }
}
