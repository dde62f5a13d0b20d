// A line chart in SVG: axes, grid, shaded spans, lines that break where a value is missing, and the values under the
// pointer. Colours and dashes are CSS classes, so that a change of theme needs no redraw.
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

// Multiples of the step from 0 to the end; computed by index, so that no rounding errors add up.
const multiples = (step, end) => Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);

export class LinePlot {
  // series: [{ column, label, style }]. style: the CSS class of its colour and dash. isCount: values are whole numbers.
  constructor(place, { title, unit, isCount, series }) {
    this.unit = unit;
    this.isCount = isCount;
    this.series = series;
    this.data = { times_s: [] };
    this.spans = [];
    this.end_s = 10;
    this.pointed_x = null;
    this.visible = series.map(() => true);
    this.grid = shape("g", { class: "grid" });
    this.shades = shape("g", { class: "shades" });
    this.cursor = shape("line", { class: "cursor", visibility: "hidden" });
    this.lines = series.map(({ style }) => shape("path", { class: `line ${style}` }));
    this.dots = series.map(({ style }) => shape("path", { class: `dots ${style}` }));
    this.svg = shape("svg", { role: "img", "aria-label": title }, this.shades, this.grid, this.cursor, ...this.lines, ...this.dots);
    this.values = element("div", { class: "values", hidden: true });
    place.replaceChildren(this.svg, this.values);
    this.svg.addEventListener("pointermove", (event) => this.showValues(event.clientX));
    this.svg.addEventListener("pointerleave", () => this.showValues(null));
    new ResizeObserver(() => this.draw()).observe(place);
    this.place = place;
  }

  // data: times_s and one array for each column; spans: [[from_s, to_s]]; visible: which of the series are drawn.
  show({ data, spans, end_s, visible }) {
    Object.assign(this, { data, spans, end_s, visible });
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
    const drawn = this.series.filter((_, i) => this.visible[i]).flatMap(({ column }) => this.points(column));
    this.top = HEADROOM * drawn.reduce((most, [, value]) => Math.max(most, value), 0) || 1;
    this.drawAxes();
    this.shades.replaceChildren(...this.spans.map(([from_s, to_s]) => shape("rect", {
      x: this.x(from_s), width: Math.max(0, this.x(to_s) - this.x(from_s)), y: TOP_PX, height: HEIGHT_PX - TOP_PX - BOTTOM_PX,
    })));
    this.series.forEach(({ column }, i) => {
      this.lines[i].setAttribute("d", this.visible[i] ? this.linePath(column) : "");
      this.dots[i].setAttribute("d", this.visible[i] ? this.dotPath(column) : "");
    });
    this.showValues(this.pointed_x);
  }

  x(time_s) {
    return LEFT_PX + (time_s / this.end_s) * (this.width - LEFT_PX - RIGHT_PX);
  }

  y(value) {
    return HEIGHT_PX - BOTTOM_PX - (value / this.top) * (HEIGHT_PX - TOP_PX - BOTTOM_PX);
  }

  drawAxes() {
    const [right, bottom] = [this.width - RIGHT_PX, HEIGHT_PX - BOTTOM_PX];
    const yStep = Math.max(roundStep((this.top * TICK_DISTANCE_PX.y) / (bottom - TOP_PX)), this.isCount ? 1 : 0);
    const xStep = timeStep((this.end_s * TICK_DISTANCE_PX.x) / (right - LEFT_PX));
    const rows = multiples(yStep, this.top).flatMap((value) => [
      shape("line", { x1: LEFT_PX, x2: right, y1: this.y(value), y2: this.y(value) }),
      shape("text", { x: LEFT_PX - 6, y: this.y(value) + 4, class: "y" }, number(Number(value.toPrecision(6)))),
    ]);
    const columns = multiples(xStep, this.end_s).flatMap((time_s) => [
      shape("line", { x1: this.x(time_s), x2: this.x(time_s), y1: TOP_PX, y2: bottom }),
      shape("text", { x: this.x(time_s), y: HEIGHT_PX - 6, class: "x" }, clock(time_s)),
    ]);
    this.grid.replaceChildren(...rows, ...columns);
  }

  at(index, column) {
    return `${this.x(this.data.times_s[index]).toFixed(1)} ${this.y(this.data[column][index]).toFixed(1)}`;
  }

  linePath(column) {
    let isOpen = false;
    return this.data.times_s.map((_, i) => {
      const wasOpen = isOpen;
      isOpen = isValue(this.data[column][i]);
      return isOpen ? `${wasOpen ? "L" : "M"}${this.at(i, column)}` : "";
    }).join("");
  }

  // A line of no length with round ends: one element for all dots of a series.
  dotPath(column) {
    return this.data.times_s.map((_, i) => (isValue(this.data[column][i]) ? `M${this.at(i, column)}h0` : "")).join("");
  }

  // The values of the point that is nearest to the pointer. client_x: null where the pointer is not on the chart.
  showValues(client_x) {
    this.pointed_x = client_x;
    const shown = this.series.filter((_, i) => this.visible[i]);
    const nearest = client_x === null ? -1 : this.nearest(client_x - this.svg.getBoundingClientRect().left, shown);
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
    const distances = this.data.times_s.map((time_s, i) =>
      (series.some(({ column }) => isValue(this.data[column][i])) ? Math.abs(this.x(time_s) - x) : Infinity));
    const least = Math.min(...distances);
    return least === Infinity ? -1 : distances.indexOf(least);
  }
}
