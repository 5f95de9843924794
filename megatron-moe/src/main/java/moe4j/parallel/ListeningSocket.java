package moe4j.parallel;

import java.io.IOException;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.Stream;

/**
 * A socket that listens at one address only, for c10d's store. By default the store listens at all
 * of a machine's addresses, and whoever reaches it can read and write. c10d takes the number of a
 * file descriptor, which Java does not tell; it is found in Linux's {@code /proc}.
 *
 * @param channel the socket, to be kept open as long as the number is used
 * @param descriptor the number of its file descriptor
 */
record ListeningSocket(ServerSocketChannel channel, int descriptor) {
  private static final Path DESCRIPTORS = Path.of("/proc/self/fd");

  /** Where the kernel lists sockets: address and port in hexadecimal, state, ..., inode. */
  private static final List<Path> TABLES =
      List.of(Path.of("/proc/net/tcp"), Path.of("/proc/net/tcp6"));

  private static final int ADDRESS = 1;
  private static final int STATE = 3;
  private static final int INODE = 9;
  private static final String LISTENS = "0A";

  /** Whether this system has the directory in which the number is found. */
  static boolean isPossible() {
    return Files.isDirectory(DESCRIPTORS);
  }

  /**
   * Opens a socket that listens.
   *
   * @throws IOException where the port is taken, or the number cannot be found
   */
  static ListeningSocket open(InetAddress address, int port) throws IOException {
    ServerSocketChannel channel =
        ServerSocketChannel.open(
            address instanceof Inet4Address
                ? StandardProtocolFamily.INET
                : StandardProtocolFamily.INET6);
    try {
      channel.bind(new InetSocketAddress(address, port));
      for (String inode : inodes(port)) {
        OptionalInt descriptor = descriptor("socket:[" + inode + "]");
        if (descriptor.isPresent()) {
          return new ListeningSocket(channel, descriptor.getAsInt());
        }
      }
      throw new IOException("no file descriptor of a socket at port " + port);
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  /** The sockets that listen at a port, other processes' among them. */
  private static List<String> inodes(int port) throws IOException {
    String end = ":%04X".formatted(port);
    try (Stream<String> lines =
        TABLES.stream().filter(Files::exists).flatMap(ListeningSocket::lines)) {
      return lines
          .map(line -> line.strip().split("\\s+"))
          .filter(words -> words.length > INODE && words[ADDRESS].endsWith(end))
          .filter(words -> words[STATE].equals(LISTENS))
          .map(words -> words[INODE])
          .toList();
    }
  }

  private static Stream<String> lines(Path table) {
    try {
      return Files.readAllLines(table).stream();
    } catch (IOException e) {
      // A table that this system does not show lists none of our sockets.
      return Stream.empty();
    }
  }

  private static OptionalInt descriptor(String target) throws IOException {
    try (Stream<Path> all = Files.list(DESCRIPTORS)) {
      return all.filter(path -> leadsTo(path, target))
          .mapToInt(path -> Integer.parseInt(path.getFileName().toString()))
          .findFirst();
    }
  }

  private static boolean leadsTo(Path link, String target) {
    try {
      return Files.readSymbolicLink(link).toString().equals(target);
    } catch (IOException e) {
      return false; // It was closed meanwhile.
    }
  }
}
