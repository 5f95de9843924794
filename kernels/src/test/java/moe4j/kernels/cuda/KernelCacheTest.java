package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class KernelCacheTest {
  private static final String KEY = "a".repeat(64);
  private static final byte[] CODE = "machine code".getBytes(StandardCharsets.UTF_8);

  private Path root;
  private int compiled;

  @BeforeMethod
  public void open() throws IOException {
    root = Files.createTempDirectory("kernels");
    compiled = 0;
  }

  @AfterMethod(alwaysRun = true)
  public void delete() throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  @Test
  public void compiledOnceAndKeptAlone() throws IOException {
    assertEquals(get(root.resolve("deep/er"), KEY), CODE);
    assertEquals(get(root.resolve("deep/er"), KEY), CODE);
    assertEquals(compiled, 1);
    try (Stream<Path> files = Files.list(root.resolve("deep/er"))) {
      assertEquals(
          files.map(file -> file.getFileName().toString()).toList(), List.of(KEY + ".cubin"));
    }
  }

  @Test
  public void everyBitOfAFileCounts() throws IOException {
    get(root, KEY);
    byte[] sound = Files.readAllBytes(file(KEY));
    for (int i = 0; i < sound.length; i++) {
      byte[] damaged = sound.clone();
      damaged[i] ^= 1;
      assertRebuilt(damaged, sound);
    }
  }

  @Test
  public void everyShorterFileIsRebuilt() throws IOException {
    get(root, KEY);
    byte[] sound = Files.readAllBytes(file(KEY));
    for (int length = 0; length < sound.length; length++) {
      assertRebuilt(Arrays.copyOf(sound, length), sound);
    }
  }

  private void assertRebuilt(byte[] damaged, byte[] sound) throws IOException {
    Files.write(file(KEY), damaged);
    compiled = 0;
    assertEquals(get(root, KEY), CODE);
    assertEquals(compiled, 1);
    assertEquals(Files.readAllBytes(file(KEY)), sound);
  }

  @Test
  public void anotherKeysFileIsNotTaken() throws IOException {
    String other = "b".repeat(64);
    get(root, other);
    Files.copy(file(other), file(KEY));
    assertEquals(get(root, KEY), CODE);
    assertEquals(compiled, 2);
  }

  /** As where home is read-only; a file in the directory's place refuses even a superuser. */
  @Test
  public void aDirectoryThatCannotBeWrittenIsDoneWithout() throws IOException {
    Path file = Files.createFile(root.resolve("file"));
    assertEquals(get(file.resolve("kernels"), KEY), CODE);
    assertEquals(get(file.resolve("kernels"), KEY), CODE);
    assertEquals(compiled, 2);
  }

  @Test
  public void theKeyHoldsAllThatTheCodeDependsOn() {
    KernelSource source = new KernelSource("x.cu", "text", Map.of("h", "header"));
    List<String> defines = List.of("TYPE=bf16", "H=8");
    String key = KernelCache.key(source, defines, "sm_90a", "13.0");
    assertTrue(key.matches("[0-9a-f]{64}"), key);
    assertEquals(
        KernelCache.key(
            new KernelSource("x.cu", "text", Map.of("h", "header")), defines, "sm_90a", "13.0"),
        key);
    List<String> others =
        List.of(
            KernelCache.key(
                new KernelSource("y.cu", "text", source.headers()), defines, "sm_90a", "13.0"),
            KernelCache.key(
                new KernelSource("x.cu", "texts", source.headers()), defines, "sm_90a", "13.0"),
            KernelCache.key(
                new KernelSource("x.cu", "text", Map.of("h", "headers")),
                defines,
                "sm_90a",
                "13.0"),
            KernelCache.key(new KernelSource("x.cu", "text", Map.of()), defines, "sm_90a", "13.0"),
            KernelCache.key(source, List.of("TYPE=bf16"), "sm_90a", "13.0"),
            KernelCache.key(source, List.of("TYPE=bf16", "H=9"), "sm_90a", "13.0"),
            KernelCache.key(source, defines, "sm_80", "13.0"),
            KernelCache.key(source, defines, "sm_90a", "13.1"));
    for (String other : others) {
      assertNotEquals(other, key);
    }
    assertEquals(others.stream().distinct().count(), others.size());
  }

  @Test
  public void whereItLies() {
    assertEquals(KernelCache.directory("/p", "/x", "/home/u"), Path.of("/p"));
    assertEquals(KernelCache.directory(null, "/x", "/home/u"), Path.of("/x/moe4j/kernels"));
    Path home = Path.of("/home/u/.cache/moe4j/kernels");
    assertEquals(KernelCache.directory(" ", null, "/home/u"), home);
    assertEquals(KernelCache.directory(null, "", "/home/u"), home);
    assertEquals(KernelCache.directory(null, "relative", "/home/u"), home);
  }

  private byte[] get(Path directory, String key) {
    return new KernelCache(directory)
        .get(
            key,
            () -> {
              compiled++;
              return CODE;
            });
  }

  private Path file(String key) {
    return root.resolve(key + ".cubin");
  }
}
