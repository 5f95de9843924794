package moe4j.model;

import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import moe4j.record.IterationRecord;
import moe4j.record.MegatronLog;
import moe4j.record.ValidationRecord;
import moe4j.transformer.ParameterSet;

/**
 * The lines of a run's log. Programs parse them, so a family that has its flags from another
 * program logs in that program's words.
 */
public interface LogLines {

  /**
   * The lines before anything is made: the arguments and the vocabulary.
   *
   * @param arguments by name
   * @param vocabulary of the data
   * @param padded the rows of the embedding
   */
  List<String> arguments(Map<String, ?> arguments, int vocabulary, int padded);

  /**
   * The lines once the model is made: how large it is.
   *
   * @param parameters this rank's
   */
  List<String> model(ParameterSet parameters);

  /**
   * What follows from losses and is recorded beside them, by name: such as bits per character.
   *
   * @param losses by Megatron's keys
   */
  default Map<String, Double> derived(Map<String, Double> losses) {
    return Map.of();
  }

  /** The file that these lines write themselves, in place of the run's log; null for none. */
  default Path file() {
    return null;
  }

  /** The lines of a log interval. */
  List<String> training(IterationRecord record);

  /** The lines of an evaluation. */
  List<String> validation(ValidationRecord record);

  /** Megatron-LM's lines. */
  static LogLines megatron() {
    return new LogLines() {
      @Override
      public List<String> arguments(Map<String, ?> arguments, int vocabulary, int padded) {
        List<String> lines = new ArrayList<>(MegatronLog.arguments(arguments));
        lines.add(MegatronLog.paddedVocabulary(vocabulary, padded));
        return lines;
      }

      @Override
      public List<String> model(ParameterSet parameters) {
        int rank = parameters.groups().tensor().rank();
        return List.of(MegatronLog.parameters(rank, 0, parameters.elements()));
      }

      @Override
      public List<String> training(IterationRecord record) {
        return List.of(MegatronLog.training(record, LocalDateTime.now(ZoneId.systemDefault())));
      }

      @Override
      public List<String> validation(ValidationRecord record) {
        return MegatronLog.validation(record);
      }
    };
  }
}
