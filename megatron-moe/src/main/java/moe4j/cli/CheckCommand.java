package moe4j.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.config.RefusedLine;

/**
 * {@code moe4j check}: whether a command line would be taken, without running it.
 *
 * <pre>
 * moe4j check --processes 8 -- pretrain-gpt --num-layers 2 ...
 * moe4j check --stdin &lt; lines.jsonl
 * </pre>
 */
public final class CheckCommand implements Command {
  private static final ObjectMapper JSON = new ObjectMapper();

  private static final String EXPECTED =
      "write lines such as {\"args\": [\"pretrain-gpt\", \"--lr\", \"1e-3\"], \"processes\": 8}";

  /** Its flags. */
  public record Options(
      @Flag(help = "processes that the line would be run by", value = "1") int processes,
      @Flag(
              help =
                  "read many lines from standard input, each an object with the list args and the"
                      + " number processes, and answer each with an object")
          boolean stdin) {

    /** Checks the range. */
    public Options {
      Ranges.positive("processes", processes);
    }
  }

  @Override
  public String name() {
    return "check";
  }

  @Override
  public String summary() {
    return "say whether a command line would be taken, and all that is wrong with it";
  }

  @Override
  public String positional() {
    return "-- COMMAND [flags]";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class).beforeCommand();
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    Options options = parsed.get(Options.class);
    List<String> words = parsed.positional();
    if (options.stdin() == !words.isEmpty()) {
      throw new IllegalArgumentException("give either a command line after -- or --stdin");
    }
    if (options.stdin()) {
      // Not closed: it is the process's.
      answer(
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)), System.out);
      return 0;
    }
    List<Command> commands = Main.commands();
    String[] args = words.toArray(new String[0]);
    Command named = command(commands, args);
    String[] rest = Arrays.copyOfRange(args, CommandLines.words(commands, args), args.length);
    Command command = named.of(rest);
    Flags.Parsed line = CommandLines.parse(command, rest, options.processes());
    if (!line.withoutEffect().isEmpty()) {
      System.out.println(CommandLines.withoutEffect(line));
    }
    System.out.println("moe4j " + command.name() + " takes this line");
    return 0;
  }

  private static Command command(List<Command> commands, String[] args) {
    Command command = CommandLines.named(commands, args, CommandLines.words(commands, args));
    if (command == null) {
      throw new IllegalArgumentException(
          "there is no command '%s'".formatted(args.length == 0 ? "" : args[0]));
    }
    return command;
  }

  /** Answers each line with an object: whether it is taken, without effect, or refused and why. */
  static void answer(BufferedReader lines, PrintStream out) throws IOException {
    List<Command> commands = Main.commands();
    int number = 0;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      number++;
      if (!line.isBlank()) {
        out.println(answer(commands, line, number));
      }
    }
    out.flush();
  }

  private static String answer(List<Command> commands, String line, int number) throws IOException {
    JsonNode asked;
    try {
      asked = JSON.readTree(line);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(
          "--stdin: line %d is no JSON: %s".formatted(number, EXPECTED), e);
    }
    if (!asked.path("args").isArray()) {
      throw new IllegalArgumentException(
          "--stdin: line %d is no object with a list args: %s".formatted(number, EXPECTED));
    }
    List<String> words = new ArrayList<>();
    asked.get("args").forEach(word -> words.add(word.asText()));
    String[] args = words.toArray(new String[0]);
    List<String> refused = List.of();
    List<String> withoutEffect = List.of();
    try {
      String[] rest = Arrays.copyOfRange(args, CommandLines.words(commands, args), args.length);
      Command command = command(commands, args).of(rest);
      withoutEffect =
          CommandLines.parse(command, rest, asked.path("processes").asInt(1)).withoutEffect();
    } catch (RefusedLine e) {
      refused = e.sentences();
    } catch (IllegalArgumentException e) {
      refused = List.of(e.getMessage());
    }
    ObjectNode answer = JSON.createObjectNode();
    answer.put("taken", refused.isEmpty());
    answer.set("withoutEffect", JSON.valueToTree(withoutEffect));
    answer.set("refused", JSON.valueToTree(refused));
    return JSON.writeValueAsString(answer);
  }
}
