// The charts of a run and their data. All use the time since the run began as their axis.
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
    series: OUTCOMES.map((name, i) => [name, name.replace("_", " "), STYLES[i]]),
  },
  { title: "Client delay", unit: "ms", series: [["client_delay_p99_s", "p99", "one"]] },
];
const LATENCIES = new Set(["ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "gap_p50_s", "gap_p99_s", "client_delay_p99_s"]);

const inUnit = (column, value) => (LATENCIES.has(column) && value !== null ? value * S_TO_MS : value);

export class Charts {
  constructor(place) {
    this.clear();
    this.charts = CHARTS.map((chart) => {
      const series = chart.series.map(([column, label, style]) => ({ column, label, style }));
      const legend = element("ul", { class: "key" });
      const plot = element("div", { class: "plot" });
      const unit = chart.unit ? element("span", { class: "quiet" }, ` (${chart.unit})`) : "";
      place.append(element("figure", {}, element("figcaption", {}, chart.title, unit), legend, plot));
      const title = `${chart.title} over the run's time; the table below the charts has its values`;
      const shown = { title, unit: chart.isCount ? "" : chart.unit, isCount: chart.isCount, series };
      return { series, legend, plot: new LinePlot(plot, shown), atWindowEnds: chart.atWindowEnds };
    });
    place.plots = this.charts.map(({ plot }) => plot); // for tests
  }

  clear() {
    this.windows = [];
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

  draw(levels, now_s) {
    const begun = levels.filter((level) => level.began_s !== null);
    const holds = begun.map((level) => {
      const ends_s = level.level_time_s === null ? Infinity : level.began_s + level.level_time_s;
      return [level.began_s + level.ramp_s, Math.min(ends_s, level.ended_s ?? now_s)];
    });
    const shown = { spans: holds.filter(([from_s, to_s]) => to_s > from_s), end_s: Math.max(10, now_s) };
    const atWindowEnds = this.atWindowEnds(begun);
    for (const chart of this.charts) {
      const visible = this.visible(chart);
      chart.plot.show({ ...shown, visible, data: chart.atWindowEnds ? atWindowEnds : this.data });
      showLegend(chart, visible);
    }
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

  // Users and requests in flight are counted at the end of each window, and are 0 when a level begins. Between the end of
  // the ramp and the end of the hold they stay constant, also where either lies within a window.
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
      rows.push({ end_s: began_s, users: 0, in_flight: 0 }, ...points);
    }
    return { times_s: rows.map((row) => row.end_s), users: rows.map((row) => row.users), in_flight: rows.map((row) => row.in_flight) };
  }
}

function showLegend({ series, legend }, visible) {
  if (legend.dataset.visible === visible.join()) return;
  legend.dataset.visible = visible.join();
  const items = series.filter((_, i) => visible[i]).map(({ label, style }) => {
    const item = element("li", {}, label);
    item.insertAdjacentHTML("afterbegin", `<svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" class="line ${style}"/></svg>`);
    return item;
  });
  legend.replaceChildren(...(items.length ? items : [element("li", {}, "no values")]));
}
