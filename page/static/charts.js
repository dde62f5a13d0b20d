// The charts: one BokehJS figure each, all on the run's own time, their points replaced by index as news of them come.

const S_TO_MS = 1000;
// Okabe and Ito's colours; each line has a dash of its own too, so that none is told by its colour alone.
const LINES = {
  one: { color: { light: "#0072b2", dark: "#56b4e9" }, dash: [] },
  two: { color: { light: "#b8860b", dark: "#e69f00" }, dash: [7, 3] },
  three: { color: { light: "#c04a00", dark: "#ff8a5c" }, dash: [2, 2] },
  four: { color: { light: "#7a3f6d", dark: "#cc79a7" }, dash: [9, 3, 2, 3] },
  five: { color: { light: "#00734f", dark: "#2fc796" }, dash: [1, 3] },
  eight: { color: { light: "#8a8a00", dark: "#f0e442" }, dash: [4, 1] },
  six: { color: { light: "#444444", dark: "#cccccc" }, dash: [12, 4] },
  seven: { color: { light: "#a3123a", dark: "#ff6f91" }, dash: [5, 2, 1, 2] },
};
const OUTCOMES = ["http_error", "stream_error", "truncated", "timeout", "refused", "empty", "client_limit", "aborted"];
const CHARTS = [
  { title: "Tokens a second", unit: "tokens/s", series: [["tokens_per_s", "all users", "one"]] },
  {
    title: "Time to first token (TTFT)", unit: "ms",
    series: [["ttft_p50_s", "p50", "one"], ["ttft_p95_s", "p95", "two"], ["ttft_p99_s", "p99", "three"]],
  },
  { title: "Gaps between arrivals", unit: "ms", series: [["gap_p50_s", "p50", "one"], ["gap_p99_s", "p99", "three"]] },
  {
    title: "Users and requests in flight", unit: "",
    series: [["users", "users", "one"], ["in_flight", "in flight", "two"]],
  },
  {
    title: "Failures, by outcome", unit: "in 5 s",
    series: OUTCOMES.map((name, i) => [name, name.replace("_", " "), Object.keys(LINES)[i]]),
  },
  { title: "Client delay", unit: "ms", series: [["client_delay_p99_s", "p99", "one"]] },
];
const INK = {
  light: { text: "#57606a", line: "#d6dae0", card: "#ffffff", shade: "#15803d" },
  dark: { text: "#a9b1ba", line: "#3a3f45", card: "#1e1e1e", shade: "#4cc27a" },
};

const theme = () => document.documentElement.dataset.theme;
const amount = (column, value) => (value === null ? NaN : column.endsWith("_s") && column !== "tokens_per_s" ? value * S_TO_MS : value);

export class Charts {
  constructor(place) {
    this.place = place;
    this.figures = null;
    this.clear();
  }

  clear() {
    this.data = { time: [] };
    for (const { series } of CHARTS) for (const [column] of series) this.data[column] = [];
  }

  // points: rows of (index, …columns)
  take(columns, points) {
    for (const [index, ...values] of points) {
      const row = Object.fromEntries(columns.map((column, i) => [column, values[i]]));
      this.data.time[index] = ((row.start_s + row.end_s) / 2) * S_TO_MS;
      for (const column of Object.keys(this.data)) {
        if (column === "time") continue;
        this.data[column][index] = OUTCOMES.includes(column) ? row.failures[column] ?? 0 : amount(column, row[column]);
      }
    }
  }

  async draw(levels, nowS) {
    const begun = levels.filter((level) => level.began_s !== null);
    if (this.figures === null) await this.build();
    const bounds = begun.map((level) => {
      const began = level.began_s + level.ramp_s;
      const ends = level.level_time_s === null ? Infinity : level.began_s + level.level_time_s;
      return [began * S_TO_MS, Math.min(ends, level.ended_s ?? nowS) * S_TO_MS];
    });
    const holds = bounds.filter(([left, right]) => right > left);
    this.range.end = Math.max(10, nowS) * S_TO_MS;
    this.holds.data = { left: holds.map(([left]) => left), right: holds.map(([, right]) => right) };
    for (const chart of this.figures) this.tell(chart);
    this.source.data = this.columns();
  }

  // Copies: a source that shares its arrays with this.data would see no change when they grow, and draw nothing new.
  columns() {
    return Object.fromEntries(Object.entries(this.data).map(([name, values]) => [name, [...values]]));
  }

  // One document for all: they share their data and their time.
  async build() {
    const figures = [];
    const targets = [];
    const drawn = new Bokeh.Document();
    this.source = new Bokeh.ColumnDataSource({ data: this.columns() });
    this.holds = new Bokeh.ColumnDataSource({ data: { left: [], right: [] } });
    this.range = new Bokeh.Range1d({ start: 0, end: 10 * S_TO_MS });
    for (const { title, unit, series } of CHARTS) {
      const figure = Bokeh.Plotting.figure({
        height: 210, sizing_mode: "stretch_width", tools: [], toolbar_location: null, x_range: this.range,
        x_axis_type: "datetime", y_range: new Bokeh.DataRange1d({ start: 0, range_padding: 0.1 }), min_border: 4, min_border_left: 48,
        output_backend: "canvas",
      });
      const shade = figure.vstrip({ field: "left" }, { field: "right" }, { source: this.holds, line_color: null, level: "underlay" });
      const lines = series.map(([column, , line]) =>
        figure.line({ field: "time" }, { field: column }, { source: this.source, line_width: 2, line_dash: LINES[line].dash }));
      const dots = series.map(([column]) =>
        figure.scatter({ field: "time" }, { field: column }, { source: this.source, size: 3.5, line_color: null }));
      figure.add_tools(new Bokeh.HoverTool({
        renderers: [dots[0]], mode: "vline", attachment: "horizontal", point_policy: "snap_to_data",
        tooltips: [["at", "@time{%H:%M:%S}"], ...series.map(([column, label]) => [label, `@${column}{0,0.[0]} ${unit === "in 5 s" ? "" : unit}`])],
        formatters: { "@time": "datetime" },
      }));
      figure.xaxis.formatter = new Bokeh.DatetimeTickFormatter({
        seconds: "%M:%S", minsec: "%M:%S", minutes: "%M:%S", hourmin: "%H:%M", hours: "%H:%M",
        milliseconds: "%M:%S", microseconds: "%M:%S", days: "%H:%M",
      });
      figure.yaxis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0.[000]" });
      const chart = { figure, lines, dots, series, shade, key: null };
      const element = document.createElement("figure");
      element.innerHTML = `<figcaption>${title}${unit ? ` <span class="quiet">(${unit})</span>` : ""}</figcaption><ul class="key"></ul><div class="plot" role="img" aria-label="${title}, over the run's time; its numbers stand in the table below the charts"></div>`;
      this.place.append(element);
      chart.key = element.querySelector(".key");
      figures.push(chart);
      targets.push(element.querySelector(".plot"));
      this.dress(chart);
      drawn.add_root(figure);
    }
    await Bokeh.embed.add_document_standalone(drawn, this.place, targets);
    this.figures = figures;
  }

  repaint() {
    this.figures?.forEach((chart) => {
      this.dress(chart);
      this.tell(chart);
    });
  }

  // The colours of the theme.
  dress({ figure, lines, dots, series, shade, key }) {
    const ink = INK[theme()];
    figure.background_fill_color = figure.border_fill_color = ink.card;
    figure.outline_line_color = ink.line;
    for (const axis of [...figure.xaxes, ...figure.yaxes]) {
      axis.major_label_text_color = ink.text;
      axis.axis_line_color = axis.major_tick_line_color = ink.line;
      axis.minor_tick_line_color = null;
    }
    for (const grid of [...figure.xgrids, ...figure.ygrids]) grid.grid_line_color = ink.line;
    for (const grid of figure.xgrids) grid.grid_line_alpha = 0.4;
    shade.glyph.fill_color = ink.shade;
    shade.glyph.fill_alpha = 0.1;
    series.forEach(([, , line], i) => {
      const color = LINES[line].color[theme()];
      lines[i].glyph.line_color = color;
      dots[i].glyph.fill_color = color;
    });
    key.dataset.told = "";
  }

  // Which lines there are. Of the outcomes, those that came: a legend of what did not would hide what did.
  tell({ series, key, lines, dots }) {
    const there = series.map(([column]) => !OUTCOMES.includes(column) || this.data[column].some((count) => count > 0));
    there.forEach((is, i) => (lines[i].visible = dots[i].visible = is || (i === 0 && !there.includes(true))));
    if (key.dataset.told === there.join()) return;
    key.dataset.told = there.join();
    key.innerHTML = series.map(([, label, line], i) => !there[i] ? "" : `<li><svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" stroke="${LINES[line].color[theme()]}" stroke-width="2" stroke-dasharray="${LINES[line].dash.join(" ")}"/></svg>${label}</li>`).join("") || "<li>none so far</li>";
  }
}
