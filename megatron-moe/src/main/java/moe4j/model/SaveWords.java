package moe4j.model;

/**
 * What a command's flags for its directory are called in sentences.
 *
 * @param save the flag that names the directory to save into
 * @param record the flags of which one keeps a run's record
 * @param goOn the flags that go on with a run in the directory, which {@code %s} stands for
 * @param weights the flags that take a checkpoint's weights alone out of the directory, which
 *     {@code %s} stands for; null where no flags do
 */
public record SaveWords(String save, String record, String goOn, String weights) {
  /** What Megatron-LM calls them. */
  public static SaveWords megatron() {
    return new SaveWords("--save", "--save or --metrics-dir", "--load %s", "--load %s");
  }
}
