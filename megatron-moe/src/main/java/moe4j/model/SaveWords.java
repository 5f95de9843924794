package moe4j.model;

/**
 * What a command's flags for its directory are called in sentences.
 *
 * @param save the flag that names the directory to save into
 * @param goOn the flags that go on with a run in the directory, which {@code %s} stands for
 */
public record SaveWords(String save, String goOn) {
  /** Megatron's. */
  public static SaveWords megatron() {
    return new SaveWords("--save", "--load %s");
  }
}
