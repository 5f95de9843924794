package moe4j.data.preprocess;

import java.io.IOException;
import java.util.List;
import java.util.stream.Stream;
import moe4j.tokenizer.Tokenizer;

/** What a worker does: documents to tokens, by Megatron's rules. */
final class DocumentEncoder {
  private final List<String> keys;
  private final Tokenizer tokenizer;
  private final boolean appendEod;

  DocumentEncoder(List<String> keys, Tokenizer tokenizer, boolean appendEod) {
    this.keys = keys;
    this.tokenizer = tokenizer;
    this.appendEod = appendEod;
    if (appendEod && tokenizer.eod() < 0) {
      throw new IllegalArgumentException(
          "--append-eod: the tokenizer has no end of document: " + tokenizer.identity());
    }
  }

  /**
   * The tokens of the documents, for each key.
   *
   * @throws IOException naming file and line of a document that cannot be encoded
   */
  List<EncodedDocuments> encode(List<RawDocument> documents) throws IOException {
    List<EncodedDocuments> encoded =
        Stream.generate(EncodedDocuments::new).limit(keys.size()).toList();
    for (RawDocument document : documents) {
      List<List<String>> texts = DocumentTexts.of(document, keys);
      try {
        for (int k = 0; k < keys.size(); k++) {
          encode(texts.get(k), encoded.get(k));
        }
      } catch (IllegalArgumentException refused) {
        throw new IOException("%s: %s".formatted(document.where(), refused.getMessage()), refused);
      } catch (RuntimeException failed) {
        throw new IllegalStateException(
            "%s: the tokenizer failed: %s".formatted(document.where(), failed), failed);
      }
    }
    return encoded;
  }

  private void encode(List<String> sentences, EncodedDocuments to) {
    boolean empty = true;
    for (String sentence : sentences) {
      int[] tokens = tokenizer.encode(sentence);
      check(tokens);
      if (tokens.length > 0) {
        to.addSequence(tokens);
        empty = false;
      }
    }
    if (appendEod && !empty) {
      to.lengthenSequence(tokenizer.eod());
    }
    to.endDocument();
  }

  /** A tokenizer of the user's own may break its word; a wrong id would crash the training. */
  private void check(int[] tokens) {
    int size = tokenizer.vocabSize();
    for (int token : tokens) {
      if (token < 0 || token >= size) {
        throw new IllegalArgumentException(
            "the tokenizer gave the id %d, outside its vocabulary of %d".formatted(token, size));
      }
    }
  }
}
