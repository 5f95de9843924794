package moe4j.tests;

import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.ImportTree;
import com.sun.source.tree.MemberSelectTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.TreeScanner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.lang.model.element.Modifier;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/** The production sources of every Maven module, parsed by the compiler of the running JDK. */
final class Sources {
  private static final Path ROOT = Path.of(System.getProperty("moe4j.root"));
  private static final Pattern OUR_TYPE =
      Pattern.compile("(moe4j(?:\\.[a-z][a-z0-9]*)*)\\.(?:[A-Z].*|\\*)");

  private static List<Source> all;

  private Sources() {}

  /**
   * A production file.
   *
   * @param path its name below the repository's root
   * @param name its package and its name without {@code .java}
   * @param uses the full names that its imports and its code write out
   * @param types the top-level types that it declares
   * @param constructors its constructors and records, with the number of their parameters
   */
  record Source(
      Path path,
      String name,
      String text,
      Set<String> uses,
      List<String> types,
      List<Parameters> constructors) {

    String packageName() {
      return packageOf(name);
    }

    /** The packages of moe4j, other than the file's own, that its code names. */
    Set<String> packages() {
      return uses.stream()
          .map(OUR_TYPE::matcher)
          .filter(Matcher::matches)
          .map(match -> match.group(1))
          .filter(used -> !used.equals(packageName()))
          .collect(Collectors.toCollection(TreeSet::new));
    }

    /** The names it uses that are in a package. */
    Set<String> uses(String packageName) {
      return uses.stream()
          .filter(use -> use.matches(Pattern.quote(packageName) + "\\.([A-Z].*|\\*)"))
          .collect(Collectors.toCollection(TreeSet::new));
    }
  }

  /**
   * A constructor's length.
   *
   * @param flags whether it is a record's whose components are flags of the command line
   */
  record Parameters(String type, int count, boolean flags) {}

  /** The directories of production code, one a Maven module. */
  static List<Path> roots() throws IOException {
    try (Stream<Path> poms = Files.walk(ROOT, 3)) {
      return poms.filter(pom -> pom.endsWith("pom.xml"))
          .map(pom -> pom.resolveSibling("src/main/java"))
          .filter(Files::isDirectory)
          .sorted()
          .toList();
    }
  }

  /** Every production file but descriptions of packages and modules. */
  static synchronized List<Source> all() throws IOException {
    if (all == null) {
      all = parsed(files());
    }
    return all;
  }

  /** The providers in {@code META-INF/services} of a Maven module, by their service. */
  static Map<String, List<String>> services(Path root) throws IOException {
    Path directory = root.resolveSibling("resources").resolve("META-INF/services");
    Map<String, List<String>> services = new TreeMap<>();
    if (Files.isDirectory(directory)) {
      try (Stream<Path> files = Files.list(directory)) {
        for (Path file : files.toList()) {
          services.put(
              file.getFileName().toString(),
              Files.readAllLines(file).stream().filter(line -> !line.isBlank()).toList());
        }
      }
    }
    return services;
  }

  static String packageOf(String name) {
    return name.substring(0, name.lastIndexOf('.'));
  }

  private static List<Path> files() throws IOException {
    List<Path> files = new ArrayList<>();
    for (Path root : roots()) {
      try (Stream<Path> walk = Files.walk(root)) {
        walk.filter(file -> file.toString().endsWith(".java"))
            .filter(file -> !file.getFileName().toString().endsWith("-info.java"))
            .sorted()
            .forEach(files::add);
      }
    }
    return files;
  }

  private static List<Source> parsed(List<Path> files) throws IOException {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    List<Source> sources = new ArrayList<>();
    try (StandardJavaFileManager manager = compiler.getStandardFileManager(null, null, null)) {
      JavacTask task =
          (JavacTask)
              compiler.getTask(
                  null,
                  manager,
                  null,
                  List.of("-proc:none"),
                  null,
                  manager.getJavaFileObjectsFromPaths(files));
      for (CompilationUnitTree unit : task.parse()) {
        sources.add(source(unit));
      }
    }
    return sources;
  }

  private static Source source(CompilationUnitTree unit) throws IOException {
    Path file = Path.of(unit.getSourceFile().toUri());
    String name = file.getFileName().toString().replace(".java", "");
    Reader reader = new Reader();
    reader.scan(unit, null);
    List<String> types = new ArrayList<>();
    for (Tree tree : unit.getTypeDecls()) {
      if (tree instanceof ClassTree type) {
        types.add(type.getSimpleName().toString());
      }
    }
    return new Source(
        ROOT.relativize(file),
        unit.getPackageName() + "." + name,
        Files.readString(file),
        reader.uses,
        types,
        reader.constructors);
  }

  /** Collects what a file uses and how long its constructors are. */
  private static final class Reader extends TreeScanner<Void, Void> {
    private final Set<String> uses = new TreeSet<>();
    private final List<Parameters> constructors = new ArrayList<>();
    private ClassTree type;

    @Override
    public Void visitImport(ImportTree tree, Void nothing) {
      uses.add(tree.getQualifiedIdentifier().toString());
      return null;
    }

    @Override
    public Void visitMemberSelect(MemberSelectTree tree, Void nothing) {
      String name = tree.toString();
      if (name.matches("[a-z]\\w*(\\.[a-z]\\w*)*\\.[A-Z]\\w*")) {
        uses.add(name);
      }
      return super.visitMemberSelect(tree, null);
    }

    @Override
    public Void visitClass(ClassTree tree, Void nothing) {
      ClassTree outer = type;
      type = tree;
      if (tree.getKind() == Tree.Kind.RECORD) {
        readRecord(tree);
      }
      super.visitClass(tree, null);
      type = outer;
      return null;
    }

    @Override
    public Void visitMethod(MethodTree tree, Void nothing) {
      int count = tree.getParameters().size();
      // A record's constructor of all components is counted with the record.
      boolean ofRecord = type.getKind() == Tree.Kind.RECORD && count == components(type).size();
      if (tree.getName().contentEquals("<init>") && !ofRecord) {
        constructors.add(new Parameters(type.getSimpleName().toString(), count, false));
      }
      return super.visitMethod(tree, null);
    }

    private static List<VariableTree> components(ClassTree tree) {
      List<VariableTree> components = new ArrayList<>();
      for (Tree member : tree.getMembers()) {
        if (member instanceof VariableTree field
            && !field.getModifiers().getFlags().contains(Modifier.STATIC)) {
          components.add(field);
        }
      }
      return components;
    }

    private void readRecord(ClassTree tree) {
      List<VariableTree> components = components(tree);
      boolean flags =
          components.stream()
              .flatMap(component -> component.getModifiers().getAnnotations().stream())
              .anyMatch(annotation -> annotation.getAnnotationType().toString().equals("Flag"));
      constructors.add(new Parameters(tree.getSimpleName().toString(), components.size(), flags));
    }
  }
}
