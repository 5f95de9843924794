package moe4j.report;

import static moe4j.report.Markup.escape;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import moe4j.record.ExpertLoad;
import moe4j.record.PythonFormat;
import moe4j.record.RunHistory.LoadPoint;
import moe4j.record.ValidationRecord;
import moe4j.report.Curve.Kind;

/** The report as one HTML page that needs nothing else. */
final class ReportPage {
  private final List<RunSummary> runs;
  private final StringBuilder html = new StringBuilder();
  private final Map<String, String> chartData = new LinkedHashMap<>();

  private ReportPage(List<RunSummary> runs) {
    this.runs = runs;
  }

  static String of(List<RunSummary> runs, String lead) throws IOException {
    return new ReportPage(runs).build(lead);
  }

  private String build(String lead) throws IOException {
    String title = String.join(" vs. ", runs.stream().map(RunSummary::label).toList());
    html.append("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .append(ReportOwner.mark(runs.stream().map(run -> run.history().directory()).toList()))
        .append("<title>")
        .append(escape(title))
        .append("</title>\n<style>\n")
        .append(resource("report.css"))
        .append("</style></head>\n<body><main>\n<h1>")
        .append(escape(title))
        .append("</h1>\n<p class=\"lead\">")
        .append(escape(lead))
        .append("</p>\n");
    results();
    losses();
    dynamics();
    for (RunSummary run : runs) {
      if (run.hasExperts()) {
        experts(run);
      }
    }
    configurations();
    html.append("<footer>Made by <code>moe4j compare</code> from each run's metrics.jsonl. ")
        .append("Smoothed curves are a centred Gaussian mean over a fiftieth of the points.")
        .append("</footer>\n</main><div id=\"tip\"></div>\n")
        .append("<script id=\"charts\" type=\"application/json\">{");
    List<String> entries = new ArrayList<>();
    chartData.forEach((id, json) -> entries.add("\"" + id + "\":" + Markup.escapeScript(json)));
    html.append(String.join(",\n", entries))
        .append("}</script>\n<script>\n")
        .append(resource("report.js"))
        .append("</script>\n</body></html>\n");
    return html.toString();
  }

  private void results() {
    html.append("<h2>Results</h2>\n<div class=\"card scroll\"><table><thead><tr><th>run</th>");
    List<Column> columns = columns();
    columns.forEach(column -> html.append("<th>").append(escape(column.head)).append("</th>"));
    html.append("</tr></thead><tbody>\n");
    for (RunSummary run : runs) {
      html.append("<tr><td>").append(name(run)).append("</td>");
      for (Column column : columns) {
        double value = column.value.applyAsDouble(run);
        boolean best = runs.size() > 1 && column.lowerIsBetter && value == least(column.value);
        html.append(best ? "<td class=\"best\">" : "<td>")
            .append(Double.isNaN(value) ? "–" : escape(column.text.apply(value)))
            .append("</td>");
      }
      html.append("</tr>\n");
    }
    html.append("</tbody></table></div>\n");
  }

  private record Column(
      String head,
      boolean lowerIsBetter,
      ToDoubleFunction<RunSummary> value,
      Function<Double, String> text) {}

  /** The columns that some run has something for. */
  private List<Column> columns() {
    Function<Double, String> loss = value -> PythonFormat.fixed(value, 4);
    Function<Double, String> count = value -> String.format(Locale.ROOT, "%,.0f", value);
    List<Column> columns = new ArrayList<>();
    columns.add(new Column("validation loss", true, RunSummary::validationLoss, loss));
    columns.add(
        new Column(
            "perplexity",
            true,
            run -> ValidationRecord.perplexity(run.validationLoss()),
            value -> PythonFormat.fixed(value, 3)));
    columns.add(
        new Column(
            "bits per character",
            true,
            run -> run.hasBitsPerCharacter() ? run.validationLoss() / Math.log(2) : Double.NaN,
            loss));
    columns.add(new Column("lowest", true, RunSummary::bestValidationLoss, loss));
    columns.add(new Column("test loss", true, RunSummary::testLoss, loss));
    columns.add(new Column("training loss", true, RunSummary::trainingLoss, loss));
    columns.add(
        new Column("parameters", false, r -> r.history().config().totalParameters(), count));
    columns.add(new Column("active", false, r -> r.history().config().activeParameters(), count));
    columns.add(new Column("steps", false, run -> run.history().last().step(), count));
    columns.add(new Column("tokens", false, run -> run.history().last().tokens(), count));
    columns.add(new Column("tokens/s", false, run -> run.median("tokens/s"), count));
    columns.add(new Column("MFU", false, RunSummary::mfu, v -> PythonFormat.fixed(v, 1) + "%"));
    columns.add(
        new Column("time", false, r -> r.history().last().wallSeconds(), ReportPage::duration));
    columns.removeIf(
        column -> runs.stream().allMatch(r -> Double.isNaN(column.value.applyAsDouble(r))));
    return columns;
  }

  private double least(ToDoubleFunction<RunSummary> value) {
    return runs.stream().mapToDouble(value).filter(v -> !Double.isNaN(v)).min().orElse(Double.NaN);
  }

  private void losses() {
    html.append("<h2>Loss</h2>\n");
    legend();
    html.append("<div class=\"grid\">\n");
    for (XScale x : List.of(XScale.steps(), XScale.wallTime(runs), XScale.tokens())) {
      chart(LossCharts.validation(runs, x));
      chart(LossCharts.training(runs, x));
    }
    html.append(
        "</div>\n<p>The frames leave out the plunge of the first twentieth of a run.</p>\n");
  }

  private void legend() {
    html.append("<div class=\"legend\">");
    for (RunSummary run : runs) {
      html.append("<span>").append(name(run)).append("</span>");
    }
    html.append("</div>\n");
  }

  private static String name(RunSummary run) {
    return "<span class=\"swatch c%s\"></span> <span class=\"name\">%s</span>"
        .formatted(run.colour(), escape(run.label()));
  }

  private void dynamics() {
    html.append("<h2>Training</h2>\n<div class=\"grid three\">\n");
    List<Curve> rates = new ArrayList<>();
    XScale steps = XScale.steps();
    for (RunSummary run : runs) {
      rates.add(run.curve(Kind.LINE, run.history().train(), steps.of(), "learning rate"));
    }
    chart(LineChart.all("Learning rate", steps.label(), "", rates).fromZero().small());
    measured("Gradient norm", "grad norm").ifPresent(this::chart);
    measured("Tokens a second", "tokens/s").map(LineChart::fromZero).ifPresent(this::chart);
    measured("Load-balancing loss (1 when balanced)", "load_balancing_loss").ifPresent(this::chart);
    measured("Router z-loss", "z_loss").ifPresent(this::chart);
    html.append("</div>\n");
  }

  /** A chart of what some run measured. */
  private Optional<LineChart> measured(String title, String key) {
    XScale steps = XScale.steps();
    List<Curve> curves = LossCharts.smoothedOverRaw(runs, steps, key);
    curves.removeIf(Curve::isEmpty);
    return curves.isEmpty()
        ? Optional.empty()
        : Optional.of(LineChart.settled(title, steps.label(), "", curves, true).small());
  }

  private void chart(LineChart chart) {
    String id = "chart" + chartData.size();
    chartData.put(id, chart.json());
    html.append("<div class=\"card\">").append(chart.svg(id)).append("</div>\n");
  }

  private void experts(RunSummary run) throws IOException {
    List<LoadPoint> points = run.history().expertLoad();
    html.append("<h2>Expert load: ").append(escape(run.label())).append("</h2>\n");
    findings(run);
    html.append("<p>Tokens each expert took, over the mean of its layer's experts.</p>\n")
        .append("<div class=\"scale\">half the mean<i></i>twice the mean</div>\n")
        .append("<h3>At the end, by layer and expert</h3><div class=\"card\">")
        .append(HeatMap.atEnd(points))
        .append("</div>\n<h3>Balance over time</h3><div class=\"grid\">\n");
    balance(run, "Coefficient of variation", "load CV", ExpertLoad.Layer::cv);
    balance(run, "Fullest expert", "max / mean load", ExpertLoad.Layer::maxOverMean);
    boolean drops = points.stream().anyMatch(point -> point.load().summary().droppedShare() > 0);
    if (drops) {
      balance(run, "Dropped assignments", "share", ExpertLoad.Layer::droppedShare);
    }
    gate(run);
    int experts = points.get(0).load().layers().get(0).tokens().size();
    html.append("</div>\n<h3>Over time, by layer and expert</h3><div class=\"grid ")
        .append(HeatMap.wide(experts) ? "three" : "small")
        .append("\">\n");
    for (String layer : HeatMap.overTime(points)) {
      html.append("<div class=\"card\">").append(layer).append("</div>\n");
    }
    html.append("</div>\n");
  }

  /** How the load is at the end, in words. */
  private void findings(RunSummary run) {
    boolean balances = LoadFindings.balances(run.history().config().arguments());
    List<String> sentences = LoadFindings.of(run.history().expertLoad(), balances);
    html.append("<div class=\"card findings\">");
    for (String sentence : sentences) {
      html.append("<p>").append(escape(sentence)).append("</p>\n");
    }
    html.append("</div>\n");
  }

  /** What the gates measure, and the losses they leave. */
  private void gate(RunSummary run) {
    Set<String> figures = new LinkedHashSet<>();
    Set<String> losses = new LinkedHashSet<>();
    for (LoadPoint point : run.history().expertLoad()) {
      for (ExpertLoad.Layer layer : point.load().layers()) {
        figures.addAll(layer.figures().keySet());
        losses.addAll(layer.losses().keySet());
      }
    }
    for (String name : figures) {
      String title = name.equals(ExpertLoad.ROUTER_ENTROPY) ? "Router entropy" : name;
      String unit = name.equals(ExpertLoad.ROUTER_ENTROPY) ? "nats" : "";
      chart(byLayer(run, title, unit, layer -> layer.figures().getOrDefault(name, Double.NaN)));
    }
    for (String name : losses) {
      chart(byLayer(run, name, "loss", layer -> layer.losses().getOrDefault(name, Double.NaN)));
    }
  }

  private void balance(
      RunSummary run, String title, String label, ToDoubleFunction<ExpertLoad.Layer> figure) {
    chart(byLayer(run, title, label, figure).fromZero());
  }

  /** A figure of each layer, thin, and the mean of those that have it. */
  private LineChart byLayer(
      RunSummary run, String title, String label, ToDoubleFunction<ExpertLoad.Layer> figure) {
    List<LoadPoint> points = run.history().expertLoad();
    List<Curve> curves = new ArrayList<>();
    ToDoubleFunction<LoadPoint> step = point -> point.at().step();
    int layers = points.get(0).load().layers().size();
    for (int l = 0; l < layers; l++) {
      int layer = l;
      curves.add(
          Curve.of(
              "layer " + points.get(0).load().layers().get(l).layer(),
              run.colour(),
              Kind.THIN,
              points,
              step,
              point -> figure.applyAsDouble(point.load().layers().get(layer))));
    }
    curves.add(
        Curve.of(
            "mean of the layers",
            run.colour(),
            Kind.LINE,
            points,
            step,
            point ->
                point.load().layers().stream()
                    .mapToDouble(figure)
                    .filter(Double::isFinite)
                    .average()
                    .orElse(Double.NaN)));
    return LineChart.all(title + ", each layer and their mean", "step", label, curves);
  }

  private void configurations() {
    List<Map<String, Object>> arguments =
        runs.stream().map(run -> run.history().config().arguments()).toList();
    List<Map<String, Object>> environments =
        runs.stream()
            .map(
                run ->
                    (Map<String, Object>)
                        new LinkedHashMap<String, Object>(run.history().config().environment()))
            .toList();
    html.append("<h2>Configuration</h2>\n<div class=\"card\">\n");
    if (runs.size() > 1) {
      html.append("<h3>What differs</h3>\n");
      table(arguments, true);
      html.append("<details><summary>What is the same</summary>\n");
      table(arguments, false);
      html.append("</details>\n");
    } else {
      table(arguments, false);
    }
    html.append("<details><summary>Environment</summary>\n");
    if (runs.size() > 1) {
      table(environments, true);
    }
    table(environments, false);
    html.append("</details>\n</div>\n");
  }

  /** The rows in which the runs differ, or those in which they agree. */
  private void table(List<Map<String, Object>> columns, boolean differing) {
    Set<String> keys = new LinkedHashSet<>();
    columns.forEach(column -> keys.addAll(column.keySet()));
    List<String> rows =
        keys.stream()
            .filter(
                key -> differing == columns.stream().map(c -> c.get(key)).distinct().count() > 1)
            .toList();
    if (rows.isEmpty()) {
      html.append("<p>Nothing.</p>\n");
      return;
    }
    html.append("<div class=\"scroll\"><table class=\"config\"><thead><tr><th></th>");
    runs.forEach(run -> html.append("<th>").append(name(run)).append("</th>"));
    html.append("</tr></thead><tbody>\n");
    for (String key : rows) {
      html.append(differing ? "<tr class=\"differs\"><td>" : "<tr><td>")
          .append(escape(key))
          .append("</td>");
      for (Map<String, Object> column : columns) {
        String value = column.containsKey(key) ? PythonFormat.str(column.get(key)) : "";
        html.append("<td>").append(escape(value)).append("</td>");
      }
      html.append("</tr>\n");
    }
    html.append("</tbody></table></div>\n");
  }

  private static String resource(String name) throws IOException {
    try (InputStream in = ReportPage.class.getResourceAsStream(name)) {
      return new String(Objects.requireNonNull(in, name).readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  /** {@code 42 s}, {@code 3 min 05 s}, {@code 1 h 02 min}. */
  static String duration(double seconds) {
    long whole = Math.round(seconds);
    if (whole < 60) {
      return whole + " s";
    } else if (whole < 3600) {
      return String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60);
    }
    return String.format(Locale.ROOT, "%d h %02d min", whole / 3600, whole / 60 % 60);
  }
}
