package moe4j.tokenizer;

import java.io.IOException;
import java.util.List;
import java.util.Set;

/** Makes tokenizers from flags. */
public final class Tokenizers {
  private static final String BYTE = "ByteTokenizer";
  private static final String GPT2 = "GPT2BPETokenizer";
  private static final String HUGGING_FACE = "HuggingFaceTokenizer";
  private static final String NULL = "NullTokenizer";

  private static final Set<String> MEGATRON_ONLY =
      Set.of(
          "BertWordPieceCase",
          "BertWordPieceLowerCase",
          "GPTSentencePieceTokenizer",
          "Llama2Tokenizer",
          "MultimodalTokenizer",
          "NullMultimodalTokenizer",
          "SFTTokenizer",
          "SentencePieceTokenizer",
          "TikTokenizer");

  private Tokenizers() {}

  /** The values of {@code --tokenizer-type}; all but ByteTokenizer are Megatron's. */
  public static List<String> types() {
    return List.of(GPT2, HUGGING_FACE, NULL, BYTE);
  }

  /**
   * Makes the tokenizer; nothing is ever downloaded.
   *
   * @throws IllegalArgumentException if the type is unknown, or a flag missing, without meaning for
   *     the type or contradicted by a file's content
   * @throws IOException if a file cannot be read, or the library behind the type is not on the
   *     class path
   */
  public static Tokenizer of(TokenizerConfig config) throws IOException {
    String type = config.type();
    if (type == null) {
      throw new IllegalArgumentException(
          "--tokenizer-type is missing: it is one of " + String.join(", ", types()));
    }
    if (MEGATRON_ONLY.contains(type)) {
      throw new IllegalArgumentException(
          "--tokenizer-type %s is Megatron's only: convert the tokenizer to a tokenizer.json and use HuggingFaceTokenizer, or one of %s"
              .formatted(type, String.join(", ", types())));
    }
    if (!types().contains(type)) {
      throw new IllegalArgumentException(
          "--tokenizer-type %s is unknown: it is one of %s"
              .formatted(type, String.join(", ", types())));
    }
    if (!type.equals(HUGGING_FACE)) {
      refuse(type, "--tokenizer-model", config.model());
    }
    if (!type.equals(GPT2)) {
      refuse(type, "--vocab-file", config.vocabFile());
      refuse(type, "--merge-file", config.mergeFile());
    }
    switch (type) {
      case GPT2 -> needs(type, "com.knuddels.jtokkit.Encodings", "com.knuddels:jtokkit");
      case HUGGING_FACE ->
          needs(
              type,
              "ai.djl.huggingface.tokenizers.HuggingFaceTokenizer",
              "ai.djl.huggingface:tokenizers");
      default -> {}
    }
    Tokenizer tokenizer =
        switch (type) {
          case GPT2 -> Gpt2BpeTokenizer.of(config.vocabFile(), config.mergeFile());
          case HUGGING_FACE -> HfTokenizer.of(config.model(), config.includeSpecialTokens());
          case NULL -> NullTokenizer.of(config.vocabSize());
          default -> new ByteTokenizer();
        };
    if (!type.equals(NULL)
        && config.vocabSize() != null
        && config.vocabSize() != tokenizer.vocabSize()) {
      throw new IllegalArgumentException(
          "--vocab-size %d contradicts --tokenizer-type %s, whose vocabulary has %d ids"
              .formatted(config.vocabSize(), type, tokenizer.vocabSize()));
    }
    return tokenizer;
  }

  /** These libraries are optional: a program that uses moe4j as a library adds what it needs. */
  private static void needs(String type, String className, String artifact) throws IOException {
    try {
      Class.forName(className, false, Tokenizers.class.getClassLoader());
    } catch (ClassNotFoundException absent) {
      throw new IOException(
          "--tokenizer-type %s needs the artifact %s on the class path: add it, or moe4j-application, which brings it"
              .formatted(type, artifact),
          absent);
    }
  }

  private static void refuse(String type, String flag, Object value) {
    if (value != null) {
      throw new IllegalArgumentException(
          "%s %s has no meaning for --tokenizer-type %s".formatted(flag, value, type));
    }
  }
}
