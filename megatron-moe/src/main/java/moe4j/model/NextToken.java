package moe4j.model;

/**
 * One text that a model writes: it takes tokens and says what may come behind them. How much of the
 * text it looks back on is the model's: the last tokens, or a memory that it carries along.
 */
public interface NextToken extends AutoCloseable {

  /**
   * Takes the text's next tokens.
   *
   * @param tokens what follows all that was taken before; one at least
   * @return the logits of the token behind them, one an id; rows of a padded vocabulary may follow
   */
  float[] after(int... tokens);

  @Override
  void close();
}
