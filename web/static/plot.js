// A line chart in SVG: axes, grid, shaded spans, lines that break where a value is missing, and the values under the
// pointer or, with the arrow keys, of one point after the other. Of more points than fit, the lowest and the
// highest in every few pixels are drawn. Colours and dashes are CSS classes, so that a change of theme needs no redraw.
import { clock, number } from "./format.js";
import { element } from "./tables.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT_PX = 210;
const LEFT_PX = 58;
const RIGHT_PX = 24;
const TOP_PX = 10;
const BOTTOM_PX = 24;
const TICK_DISTANCE_PX = { x: 90, y: 40 };
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
const HEADROOM = 1.1;
// Of a thinned line, in which its lowest and highest value are drawn; of a dot; of the shortest drag that is none by mistake.
const BUCKET_PX = 3;
const DOT_PX = 6;
const DRAG_PX = 8;
// A few values so many times as high as almost all would flatten a line: the axis ends below them, and marks are in their place.
const OUTLIER = { times: 3, share: 0.01, fewest: 50 };
const MARK_PX = 4;

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const isValue = (value) => value !== null && value !== undefined && !Number.isNaN(value);

// The smallest of 1, 2, 5, 10, 20, 50, … that is not below `value`.
function roundStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= value * 0.999);
}

const timeStep = (value) => TIME_STEPS_S.find((step) => step >= value) ?? Math.ceil(value / 86400) * 86400;

// Multiples of the step from the start to the end; computed by index, so that no rounding errors add up.
function multiples(step, start, end) {
  const first = Math.ceil(start / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(end / step + 1e-9) - first + 1) }, (_, i) => (first + i) * step);
}

export class LinePlot {
  // series: [{ column, label, style }]. style: the CSS class of its colour and dash. isCount: values are whole numbers.
  // cutsOutliers: a few values that are far higher than the others are marked at the end of the axis.
  // onZoom: called with the range of time that was chosen by dragging, or null for all of it.
  constructor(place, { title, unit, isCount, cutsOutliers = false, series, onZoom = () => {} }) {
    this.onZoom = onZoom;
    this.unit = unit;
    this.isCount = isCount;
    this.cutsOutliers = cutsOutliers;
    this.series = series;
    this.data = { times_s: [] };
    this.spans = [];
    this.range_s = [0, 10];
    this.shownAt = [];
    this.pointed_x = null;
    this.dragged_x = null;
    this.visible = series.map(() => true);
    this.grid = shape("g", { class: "grid" });
    this.shades = shape("g", { class: "shades" });
    this.cursor = shape("line", { class: "cursor", visibility: "hidden" });
    this.selection = shape("rect", { class: "selection", visibility: "hidden" });
    this.lines = series.map(({ style }) => shape("path", { class: `line ${style}` }));
    this.dots = series.map(({ style }) => shape("path", { class: `dots ${style}` }));
    this.beyond = series.map(({ style }) => shape("path", { class: `beyond ${style}` }));
    this.beyondNote = element("div", { class: "beyond-note", hidden: true, title: "Values beyond the axis are marked at its end" });
    this.svg = shape("svg", { role: "img", "aria-label": title, tabindex: 0 }, this.shades, this.grid, this.selection, this.cursor, ...this.lines, ...this.dots, ...this.beyond);
    this.values = element("div", { class: "values", hidden: true, "aria-live": "polite" });
    place.replaceChildren(this.svg, this.beyondNote, this.values);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(place);
    this.place = place;
  }

  listen() {
    const inside_x = (event) => event.clientX - this.svg.getBoundingClientRect().left;
    this.svg.addEventListener("pointermove", (event) => {
      this.showValues(inside_x(event));
      if (this.dragged_x !== null) this.showSelection(inside_x(event));
    });
    this.svg.addEventListener("pointerleave", () => this.showValues(null));
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.svg.setPointerCapture(event.pointerId);
      this.dragged_x = inside_x(event);
      this.showValues(this.dragged_x); // a finger does not move before
    });
    this.svg.addEventListener("pointerup", (event) => this.endDrag(inside_x(event)));
    this.svg.addEventListener("pointercancel", () => this.endDrag(null));
    this.svg.addEventListener("dblclick", () => this.onZoom(null));
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.svg.addEventListener("blur", () => this.showValues(null));
  }

  endDrag(x) {
    const from_x = this.dragged_x;
    this.dragged_x = null;
    this.selection.setAttribute("visibility", "hidden");
    if (from_x === null || x === null || Math.abs(x - from_x) < DRAG_PX) return;
    this.onZoom([from_x, x].sort((one, other) => one - other).map((each) => this.time_s(each)));
  }

  showSelection(x) {
    const [from_x, to_x] = [this.dragged_x, x].sort((one, other) => one - other);
    const places = { x: from_x, width: to_x - from_x, y: TOP_PX, height: HEIGHT_PX - TOP_PX - BOTTOM_PX };
    for (const [name, value] of Object.entries(places)) this.selection.setAttribute(name, value);
    this.selection.setAttribute("visibility", "visible");
  }

  // The arrow keys go from point to point, Escape hides the values.
  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.showValues(null);
    if (!step) return;
    event.preventDefault();
    const known = this.shownAt.filter((i) => this.visibleSeries().some(({ column }) => isValue(this.data[column][i])));
    const now = this.pointed_x === null ? -1 : known.indexOf(this.nearest(this.pointed_x, this.visibleSeries()));
    const next = this.pointed_x === null ? (step > 0 ? 0 : known.length - 1) : Math.min(known.length - 1, Math.max(0, now + step));
    if (known.length) this.showValues(this.x(this.data.times_s[known[next]]));
  }

  visibleSeries() {
    return this.series.filter((_, i) => this.visible[i]);
  }

  // data: times_s and one array for each column; spans: [[from_s, to_s]]; range_s: the time shown; visible: which of the
  // series are drawn.
  show({ data, spans, range_s, visible }) {
    Object.assign(this, { data, spans, range_s, visible });
    this.draw();
  }

  // [time in s, value] of each point that is drawn of a column.
  points(column) {
    const values = this.data[column] ?? [];
    return this.data.times_s.map((time_s, i) => [time_s, values[i]]).filter(([, value]) => isValue(value));
  }

  draw() {
    const width = this.place.clientWidth;
    if (width === 0) return;
    this.width = width;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT_PX}`);
    const [start_s, end_s] = this.range_s;
    this.shownAt = [...this.data.times_s.keys()].filter((i) => this.data.times_s[i] >= start_s && this.data.times_s[i] <= end_s);
    const highest = this.visibleSeries().map(({ column }) => this.highest(column));
    const most = Math.max(0, ...highest.map(({ most }) => most));
    const usual = Math.max(0, ...highest.map(({ usual }) => usual));
    this.top = HEADROOM * (most > OUTLIER.times * usual && usual > 0 ? OUTLIER.times * usual / 2 : most) || 1;
    this.drawAxes();
    const shaded = this.spans.map(([from_s, to_s]) => [Math.max(from_s, start_s), Math.min(to_s, end_s)]);
    this.shades.replaceChildren(...shaded.filter(([from_s, to_s]) => to_s > from_s).map(([from_s, to_s]) => shape("rect", {
      x: this.x(from_s), width: this.x(to_s) - this.x(from_s), y: TOP_PX, height: HEIGHT_PX - TOP_PX - BOTTOM_PX,
    })));
    this.series.forEach(({ column }, i) => {
      const indices = this.visible[i] ? this.thinned(column) : [];
      const hasDots = indices.length * DOT_PX <= this.plotWidth();
      this.lines[i].setAttribute("d", this.linePath(column, indices));
      this.dots[i].setAttribute("d", hasDots ? this.dotPath(column, indices) : "");
      this.beyond[i].setAttribute("d", this.beyondPath(column, indices));
    });
    this.showBeyond(most);
    this.showValues(this.pointed_x);
  }

  // The highest value that is shown of a column, and the one that only a few exceed.
  highest(column) {
    const values = this.shownAt.map((i) => this.data[column][i]).filter(isValue);
    const most = values.reduce((top, value) => Math.max(top, value), 0);
    if (!this.cutsOutliers || values.length < OUTLIER.fewest) return { most, usual: most };
    const ascending = Float64Array.from(values).sort();
    return { most, usual: ascending.at(-1 - Math.ceil(values.length * OUTLIER.share)) };
  }

  // A triangle at the upper end for each drawn value that lies beyond it.
  beyondPath(column, indices) {
    const beyond = indices.filter((i) => isValue(this.data[column][i]) && this.data[column][i] > this.top);
    return beyond.map((i) => `M${this.x(this.data.times_s[i]).toFixed(1)} ${TOP_PX - 2}l${MARK_PX} ${2 * MARK_PX}h${-2 * MARK_PX}z`).join("");
  }

  showBeyond(most) {
    this.beyondNote.hidden = most <= this.top;
    const words = `▲ up to ${number(most)} ${this.unit}`.trim();
    if (this.beyondNote.textContent !== words) this.beyondNote.textContent = words;
  }

  plotWidth() {
    return this.width - LEFT_PX - RIGHT_PX;
  }

  x(time_s) {
    const [start_s, end_s] = this.range_s;
    return LEFT_PX + ((time_s - start_s) / (end_s - start_s)) * this.plotWidth();
  }

  time_s(x) {
    const [start_s, end_s] = this.range_s;
    return start_s + Math.min(1, Math.max(0, (x - LEFT_PX) / this.plotWidth())) * (end_s - start_s);
  }

  // How many points stand for each that is drawn at most.
  get perBucket() {
    const buckets = Math.max(1, Math.floor(this.plotWidth() / BUCKET_PX));
    return this.shownAt.length <= 2 * buckets ? 1 : Math.ceil(this.shownAt.length / buckets);
  }

  // The indices that are drawn of a column: of each group of neighbours the lowest and the highest value, so that no peak
  // is lost; of a group without values one, so that the line breaks.
  thinned(column) {
    const size = this.perBucket;
    if (size === 1) return this.shownAt;
    const values = this.data[column];
    const kept = [];
    for (let start = 0; start < this.shownAt.length; start += size) {
      const group = this.shownAt.slice(start, start + size);
      const known = group.filter((i) => isValue(values[i]));
      const low = known.reduce((best, i) => (values[i] < values[best] ? i : best), known[0]);
      const high = known.reduce((best, i) => (values[i] > values[best] ? i : best), known[0]);
      kept.push(...(known.length ? new Set([Math.min(low, high), Math.max(low, high)]) : [group[0]]));
    }
    return kept;
  }

  // Values beyond the axis are drawn at its end.
  y(value) {
    return HEIGHT_PX - BOTTOM_PX - (Math.min(value, this.top) / this.top) * (HEIGHT_PX - TOP_PX - BOTTOM_PX);
  }

  drawAxes() {
    const [right, bottom] = [this.width - RIGHT_PX, HEIGHT_PX - BOTTOM_PX];
    const yStep = Math.max(roundStep((this.top * TICK_DISTANCE_PX.y) / (bottom - TOP_PX)), this.isCount ? 1 : 0);
    const [start_s, end_s] = this.range_s;
    const xStep = timeStep(((end_s - start_s) * TICK_DISTANCE_PX.x) / (right - LEFT_PX));
    const rows = multiples(yStep, 0, this.top).flatMap((value) => [
      shape("line", { x1: LEFT_PX, x2: right, y1: this.y(value), y2: this.y(value) }),
      shape("text", { x: LEFT_PX - 6, y: this.y(value) + 4, class: "y" }, number(Number(value.toPrecision(6)))),
    ]);
    const columns = multiples(xStep, start_s, end_s).flatMap((time_s) => [
      shape("line", { x1: this.x(time_s), x2: this.x(time_s), y1: TOP_PX, y2: bottom }),
      shape("text", { x: this.x(time_s), y: HEIGHT_PX - 6, class: "x" }, clock(time_s)),
    ]);
    this.grid.replaceChildren(...rows, ...columns);
  }

  at(index, column) {
    return `${this.x(this.data.times_s[index]).toFixed(1)} ${this.y(this.data[column][index]).toFixed(1)}`;
  }

  linePath(column, indices) {
    let isOpen = false;
    return indices.map((i) => {
      const wasOpen = isOpen;
      isOpen = isValue(this.data[column][i]);
      return isOpen ? `${wasOpen ? "L" : "M"}${this.at(i, column)}` : "";
    }).join("");
  }

  // A line of no length with round ends: one element for all dots of a series.
  dotPath(column, indices) {
    return indices.map((i) => (isValue(this.data[column][i]) ? `M${this.at(i, column)}h0` : "")).join("");
  }

  // The values of the point that is nearest to x, in pixels; null where the pointer is not on the chart.
  showValues(x_px) {
    this.pointed_x = x_px;
    const shown = this.visibleSeries();
    const nearest = x_px === null ? -1 : this.nearest(x_px, shown);
    this.values.hidden = nearest < 0;
    this.cursor.setAttribute("visibility", nearest < 0 ? "hidden" : "visible");
    if (nearest < 0) return;
    const x = this.x(this.data.times_s[nearest]);
    for (const [name, value] of Object.entries({ x1: x, x2: x, y1: TOP_PX, y2: HEIGHT_PX - BOTTOM_PX })) this.cursor.setAttribute(name, value);
    const rows = shown.map(({ column, label }) => element("div", {}, `${label}: ${number(this.data[column][nearest])} ${this.unit}`.trim()));
    this.values.replaceChildren(element("strong", {}, clock(this.data.times_s[nearest])), ...rows);
    const isLeft = x > this.width / 2;
    this.values.style.left = isLeft ? "auto" : `${x + 10}px`;
    this.values.style.right = isLeft ? `${this.width - x + 10}px` : "auto";
  }

  // The index of the point nearest to x that has a value of any of the series; -1 where there is none.
  nearest(x, series) {
    let [best, least] = [-1, Infinity];
    for (const i of this.shownAt) {
      const distance = Math.abs(this.x(this.data.times_s[i]) - x);
      if (distance < least && series.some(({ column }) => isValue(this.data[column][i]))) [best, least] = [i, distance];
    }
    return best;
  }
}
