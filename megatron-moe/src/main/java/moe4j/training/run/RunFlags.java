package moe4j.training.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import moe4j.config.ConfigYaml;

/** {@code config.yaml} in a run's directory: the flags that repeat it. */
public final class RunFlags {
  /** The file in a run's directory. */
  public static final String FILE = "config.yaml";

  /** Flags that say how a run was started or resumed, not what it computes. */
  private static final Set<String> BEGIN = Set.of("overwrite", "auto_resume", "override_data");

  private RunFlags() {}

  /**
   * Writes the file, whole or not at all.
   *
   * @param family the model's, by which the command is called
   * @param arguments of the run by name, defaults filled in
   */
  public static void write(Path directory, String family, Map<String, Object> arguments)
      throws IOException {
    Files.createDirectories(directory);
    Path beside = directory.resolve(FILE + ".tmp");
    Files.writeString(beside, text(family, arguments));
    Files.move(
        beside,
        directory.resolve(FILE),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
  }

  static String text(String family, Map<String, Object> arguments) {
    Map<String, Object> flags = new LinkedHashMap<>(arguments);
    flags.keySet().removeAll(BEGIN);
    // A run that was taken up from its own checkpoints began without any.
    if (flags.get("load") != null && flags.get("load").equals(flags.get("save"))) {
      flags.remove("load");
    }
    if (flags.get("restart_dir") == null) {
      flags.remove("restart");
    }
    return ConfigYaml.text(
        List.of(
            "Every flag of this run. It is repeated by: moe4j pretrain --model %s --config FILE"
                .formatted(family),
            "A flag that is typed wins, such as another directory for its checkpoints."),
        flags);
  }
}
