package moe4j.model;

import moe4j.tokenizer.Tokenizer;

/** A trained model that writes text, as it came out of a checkpoint. */
public interface TextModel extends AutoCloseable {

  /** Its tokens. */
  Tokenizer tokenizer();

  /** Begins a text. Several may be written at a time, each by itself. */
  NextToken begin();

  @Override
  void close();
}
