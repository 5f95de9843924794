package moe4j.parallel;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Slurm's lists: of hosts ({@code gpu[01-03,7],login2}) and of the tasks on each of them ({@code
 * 8(x3),4}).
 */
final class HostList {
  /** More hosts than any cluster has: a range that is longer is a mistake. */
  private static final int MOST = 1_000_000;

  /** Tasks a host and, where several have so many, how many have. */
  private static final Pattern TASKS = Pattern.compile("(\\d{1,6})(?:\\(x(\\d{1,6})\\))?");

  private HostList() {}

  /**
   * The hosts' names, in the list's order.
   *
   * @param variable where the list stands, for the sentence
   * @throws IllegalArgumentException for what is no such list
   */
  static List<String> hosts(String variable, String list) {
    List<String> hosts = new ArrayList<>();
    for (String item : split(list)) {
      expand("", item, hosts, variable, list);
    }
    if (hosts.isEmpty()) {
      throw malformed(variable, list);
    }
    return hosts;
  }

  /**
   * How many tasks each host has.
   *
   * @throws IllegalArgumentException for what is no such list
   */
  static List<Integer> tasks(String variable, String list) {
    List<Integer> tasks = new ArrayList<>();
    for (String item : list.split(",")) {
      Matcher parts = TASKS.matcher(item.strip());
      if (!parts.matches()) {
        throw malformed(variable, list);
      }
      int times = parts.group(2) == null ? 1 : Integer.parseInt(parts.group(2));
      if (times < 1) {
        throw malformed(variable, list);
      }
      tasks.addAll(Collections.nCopies(times, Integer.valueOf(parts.group(1))));
    }
    return tasks;
  }

  /** At the commas outside brackets. */
  private static List<String> split(String list) {
    List<String> items = new ArrayList<>();
    int depth = 0;
    int begin = 0;
    for (int i = 0; i <= list.length(); i++) {
      char c = i < list.length() ? list.charAt(i) : ',';
      if (c == '[') {
        depth++;
      } else if (c == ']') {
        depth--;
      } else if (c == ',' && (depth == 0 || i == list.length())) {
        String item = list.substring(begin, i).strip();
        if (!item.isEmpty()) {
          items.add(item);
        }
        begin = i + 1;
      }
    }
    return items;
  }

  /** Adds the hosts of an item; one of several dimensions has several brackets. */
  private static void expand(
      String head, String item, List<String> hosts, String variable, String list) {
    int open = item.indexOf('[');
    if (open < 0) {
      if (hosts.size() >= MOST || item.indexOf(']') >= 0) {
        throw malformed(variable, list);
      }
      hosts.add(head + item);
      return;
    }
    int close = item.indexOf(']', open);
    if (close < 0) {
      throw malformed(variable, list);
    }
    String before = head + item.substring(0, open);
    String rest = item.substring(close + 1);
    for (String range : item.substring(open + 1, close).split(",")) {
      String[] ends = range.strip().split("-", 2);
      String last = ends[ends.length - 1];
      try {
        int from = Integer.parseInt(ends[0]);
        int to = Integer.parseInt(last);
        if (from > to || to - from >= MOST) {
          throw malformed(variable, list);
        }
        for (int number = from; number <= to; number++) {
          // Leading zeros belong to the name: 08-10 is 08, 09, 10.
          String digits = Integer.toString(number);
          String zeros = "0".repeat(Math.max(0, ends[0].length() - digits.length()));
          expand(before + zeros + digits, rest, hosts, variable, list);
        }
      } catch (NumberFormatException e) {
        throw malformed(variable, list);
      }
    }
  }

  private static IllegalArgumentException malformed(String variable, String list) {
    return new IllegalArgumentException(
        "%s is '%s', which is no list of Slurm's".formatted(variable, list));
  }
}
