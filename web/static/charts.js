// The charts of a run and their data. All use the time since the run began as their axis.
import { clock } from "./format.js";
import { LinePlot } from "./plot.js";
import { element } from "./tables.js";

const S_TO_MS = 1000;
const OUTCOMES = ["http_error", "stream_error", "truncated", "timeout", "refused", "empty", "client_limit", "aborted"];
// CSS classes: each has a colour and a dash, so that no line is distinguished by its colour alone.
const STYLES = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
const CHARTS = [
  { title: "Token rate", unit: "tokens/s", series: [["tokens_per_s", "all users", "one"]] },
  {
    title: "Time to first token (TTFT)", unit: "ms",
    series: [["ttft_p50_s", "p50", "one"], ["ttft_p95_s", "p95", "two"], ["ttft_p99_s", "p99", "three"]],
  },
  { title: "Gaps between arrivals", unit: "ms", series: [["gap_p50_s", "p50", "one"], ["gap_p99_s", "p99", "three"]] },
  {
    title: "Users and requests in flight", unit: "", isCount: true,
    atWindowEnds: true,
    series: [["users", "users", "one"], ["in_flight", "in flight", "two"]],
  },
  {
    title: "Request rate", unit: "requests/s",
    series: [["offered_rate", "offered", "one"], ["sent_rate", "sent", "two"], ["completed_rate", "completed", "three"]],
  },
  {
    title: "Failures by outcome", unit: "in 5 s", isCount: true,
    none: "no failures",
    series: OUTCOMES.map((name, i) => [name, name.replace("_", " "), STYLES[i]]),
  },
  { title: "Client delay", unit: "ms", series: [["client_delay_p99_s", "p99", "one"]] },
];
// Ranges of time that end now, in seconds; null: the whole run.
const RANGES = [["Whole run", null], ["Last 5 min", 300], ["Last 30 min", 1800], ["Last 3 h", 10800]];
const LEAST_RANGE_S = 10;
const ZOOM = 2;
const LATENCIES = new Set(["ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "gap_p50_s", "gap_p99_s", "client_delay_p99_s"]);

const inUnit = (column, value) => (LATENCIES.has(column) && value !== null ? value * S_TO_MS : value);

export class Charts {
  constructor(place) {
    this.clear();
    this.end_s = LEAST_RANGE_S;
    this.drawn = [[], 0];
    this.tools = this.makeTools();
    place.append(this.tools);
    this.charts = CHARTS.map((chart) => {
      const series = chart.series.map(([column, label, style]) => ({ column, label, style }));
      const legend = element("ul", { class: "key" });
      const plot = element("div", { class: "plot" });
      const unit = chart.unit ? element("span", { class: "quiet" }, ` (${chart.unit})`) : "";
      place.append(element("figure", {}, element("figcaption", {}, chart.title, unit), legend, plot));
      const title = `${chart.title} over the run's time; the table below the charts has its values`;
      const shown = { title, unit: chart.isCount ? "" : chart.unit, isCount: chart.isCount, cutsOutliers: chart.unit === "ms", series, onZoom: (range_s) => this.zoom(range_s) };
      return { series, legend, plot: new LinePlot(plot, shown), atWindowEnds: chart.atWindowEnds, none: chart.none ?? "no values" };
    });
    place.plots = this.charts.map(({ plot }) => plot); // for tests
  }

  clear() {
    this.windows = [];
    this.view = { last_s: null }; // or { range_s }
    this.data = { times_s: [] };
    for (const { series } of CHARTS) for (const [column] of series) this.data[column] = [];
  }

  // points: rows of (index, …columns); a row replaces the one of its index.
  update(columns, points) {
    for (const [index, ...values] of points) {
      const row = Object.fromEntries(columns.map((column, i) => [column, values[i]]));
      this.windows[index] = row;
      this.data.times_s[index] = (row.start_s + row.end_s) / 2;
      for (const column of Object.keys(this.data)) {
        if (column === "times_s") continue;
        this.data[column][index] = OUTCOMES.includes(column) ? row.failures[column] ?? 0 : inUnit(column, row[column]);
      }
    }
  }

  makeTools() {
    const button = (words, act, name = null) => {
      const made = element("button", { type: "button", "aria-label": name }, words);
      made.addEventListener("click", act);
      return made;
    };
    this.rangeButtons = RANGES.map(([words, last_s]) => button(words, () => this.look({ last_s })));
    this.rangeText = element("span", { class: "quiet" });
    return element("div", { class: "chart-tools", role: "group", "aria-label": "Time shown in the charts" },
      ...this.rangeButtons,
      button("−", () => this.scale(ZOOM), "Zoom out"), button("+", () => this.scale(1 / ZOOM), "Zoom in"),
      button("‹", () => this.move(-0.5), "Earlier"), button("›", () => this.move(0.5), "Later"), this.rangeText);
  }

  // range_s: null for the whole run.
  zoom(range_s) {
    this.look(range_s === null ? { last_s: null } : { range_s });
  }

  look(view) {
    this.view = view;
    this.draw(...this.drawn);
  }

  range() {
    if (this.view.range_s) return this.view.range_s;
    const { last_s } = this.view;
    return [last_s === null ? 0 : Math.max(0, this.end_s - last_s), this.end_s];
  }

  scale(factor) {
    const [start_s, end_s] = this.range();
    const half_s = Math.max(LEAST_RANGE_S, (end_s - start_s) * factor) / 2;
    const middle_s = (start_s + end_s) / 2;
    this.within(middle_s - half_s, middle_s + half_s);
  }

  move(share) {
    const [start_s, end_s] = this.range();
    this.within(start_s + share * (end_s - start_s), end_s + share * (end_s - start_s));
  }

  // The range, moved into the run's time.
  within(start_s, end_s) {
    const length_s = Math.min(end_s - start_s, this.end_s);
    const from_s = Math.min(Math.max(0, start_s), this.end_s - length_s);
    this.zoom(length_s >= this.end_s ? null : [from_s, from_s + length_s]);
  }

  draw(levels, now_s) {
    this.drawn = [levels, now_s];
    this.end_s = Math.max(LEAST_RANGE_S, now_s);
    const begun = levels.filter((level) => level.began_s !== null);
    const holds = begun.map((level) => {
      const ends_s = level.level_time_s === null ? Infinity : level.began_s + level.level_time_s;
      return [level.began_s + level.ramp_s, Math.min(ends_s, level.ended_s ?? now_s)];
    });
    const shown = { spans: holds.filter(([from_s, to_s]) => to_s > from_s), range_s: this.range() };
    const atWindowEnds = this.atWindowEnds(begun);
    for (const chart of this.charts) {
      const visible = this.visible(chart);
      chart.plot.show({ ...shown, visible, data: chart.atWindowEnds ? atWindowEnds : this.data });
      showLegend(chart, visible);
    }
    this.showRange();
  }

  showRange() {
    this.rangeButtons.forEach((button, i) => {
      const last_s = RANGES[i][1];
      button.setAttribute("aria-pressed", String(!this.view.range_s && this.view.last_s === last_s));
      button.hidden = last_s !== null && last_s >= this.end_s && this.view.last_s !== last_s;
    });
    const many = this.charts[0].plot.perBucket;
    const thinned = many > 1 ? `; drawn: the lowest and highest of every ${many} windows` : "";
    const words = `${this.range().map(clock).join(" to ")}${thinned}`;
    if (this.rangeText.textContent !== words) this.rangeText.textContent = words;
  }

  // Which series are drawn. Of the outcomes, those that occurred: a full legend would hide them. An open loop has no
  // users, a closed one no offered rate.
  visible({ series }) {
    const isOpen = this.data.offered_rate.some((rate) => rate !== null && rate !== undefined);
    const hasValues = (column) => {
      if (OUTCOMES.includes(column)) return this.data[column].some((count) => count > 0);
      return column === "users" ? !isOpen : column === "offered_rate" ? isOpen : true;
    };
    return series.map(({ column }) => hasValues(column));
  }

  // Users and requests in flight are counted at the end of each window, and are 0 when a level begins. A ramp adds users
  // evenly: its line is straight from count to count. From its end on, also within a window, each count is a step over
  // the time since the one before: a slope would look like a slow change, such as a slow drain.
  atWindowEnds(levels) {
    const rows = [];
    for (const level of levels) {
      const windows = this.windows.filter((row) => row?.level_index === level.index);
      if (windows.length === 0) continue;
      const began_s = level.began_s;
      const holdBegan_s = began_s + level.ramp_s;
      const holdEnded_s = level.level_time_s === null ? Infinity : began_s + level.level_time_s;
      const held = windows.filter((row) => row.end_s >= holdBegan_s && row.end_s <= holdEnded_s + 0.1);
      const corners = held.length === 0 ? [] : [{ ...held[0], end_s: holdBegan_s }];
      if (held.length > 0 && windows.at(-1).end_s > holdEnded_s) corners.push({ ...held.at(-1), end_s: holdEnded_s });
      const points = [...corners, ...windows].sort((one, other) => one.end_s - other.end_s);
      const isStep = (row) => held.length > 0 && row.end_s > holdBegan_s;
      const stepped = points.flatMap((row, i) => (isStep(row) && i > 0 ? [{ ...row, end_s: points[i - 1].end_s }, row] : [row]));
      rows.push({ end_s: began_s, users: 0, in_flight: 0 }, ...stepped);
    }
    return { times_s: rows.map((row) => row.end_s), users: rows.map((row) => row.users), in_flight: rows.map((row) => row.in_flight) };
  }
}

function showLegend({ series, legend, none }, visible) {
  if (legend.dataset.visible === visible.join()) return;
  legend.dataset.visible = visible.join();
  const items = series.filter((_, i) => visible[i]).map(({ label, style }) => {
    const item = element("li", {}, label);
    item.insertAdjacentHTML("afterbegin", `<svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" class="line ${style}"/></svg>`);
    return item;
  });
  legend.replaceChildren(...(items.length ? items : [element("li", {}, none)]));
}
