// Past runs: a table that is searched and sorted, and comparisons and trends of the runs that are chosen in it.
import { duration, moment, NONE, number } from "./format.js";
import { opensInside, showDocument } from "./reader.js";
import { element, fill, showLines } from "./tables.js";

const $ = (id) => document.getElementById(id);
const FEWEST = { compare: 2, trend: 3 };
const TITLES = { compare: "Comparison", trend: "Trend" };
let runs = [];
let chosen = new Set();
let sorted = { heading: "Started", falling: true };
let refused = null; // which of the two was refused for settings that differ

const tagsOf = (run) => Object.entries(run.tags).map(([key, value]) => `${key}=${value}`);
// What the search finds a run by.
const wordsOf = (run) => [run.folder, run.name, ...tagsOf(run), run.engine, run.model, run.host, run.status, run.validity ?? ""].join(" ").toLowerCase();
const pill = (words, isGood) => element("span", { class: `pill ${isGood ? "good" : "bad"}` }, words);

// heading, cell, whether it is text (wraps: in lines), what it is sorted by
const COLUMNS = [
  ["Run", choice, true, (run) => (run.name || run.folder).toLowerCase()],
  ["Verdict", verdict, true, (run) => run.validity],
  ["Most tokens/s", (run) => number(run.headline?.token_rate ?? null), false, (run) => run.headline?.token_rate],
  ["its TTFT p50", (run) => duration(run.headline?.ttft_p50_s ?? null), false, (run) => run.headline?.ttft_p50_s],
  ["Status", status, true, (run) => run.status],
  ["Started", (run) => moment(run.started_at), true, (run) => run.folder],
  ["Levels", (run) => run.levels.join(", ") || NONE, "wraps", null],
  ["Engine", (run) => run.engine || NONE, true, (run) => run.engine],
  ["Server", (run) => run.host || NONE, "wraps", (run) => run.host],
  ["Model", (run) => run.model || NONE, "wraps", (run) => run.model],
  ["Requests", requestsLink, true, null],
];

export async function showPast() {
  runs = await (await fetch("runs.json")).json();
  $("no-runs").hidden = runs.length > 0;
  $("past").hidden = $("past-tools").hidden = runs.length === 0;
  $("compare-bar").hidden = runs.filter((run) => run.comparable).length < 2;
  const known = new Set(runs.filter((run) => run.comparable).map((run) => run.folder));
  const still = new Set([...chosen].filter((folder) => known.has(folder)));
  const isSame = still.size === chosen.size; // what was found about a choice stays as long as that does
  chosen = still;
  drawTable();
  if (!isSame) offerComparison();
}

function drawTable() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = runs.filter((run) => words.every((word) => wordsOf(run).includes(word)));
  const hidden = [...chosen].filter((folder) => !found.some((run) => run.folder === folder)).length;
  const ofChosen = hidden ? `; ${hidden} of the chosen runs ${hidden === 1 ? "is" : "are"} not among them` : "";
  $("found").textContent = words.length ? `${found.length} of ${runs.length} runs${ofChosen}` : "";
  fill($("past"), COLUMNS, inOrder(found));
  $("past").querySelectorAll("thead th").forEach((cell, i) => makeSortable(cell, COLUMNS[i]));
}

// Runs without the figure come last in either order.
function inOrder(found) {
  const key = COLUMNS.find(([heading]) => heading === sorted.heading)[3];
  const isNone = (value) => value === null || value === undefined || value === "";
  return [...found].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (isNone(a) || isNone(b)) return Number(isNone(a)) - Number(isNone(b));
    const order = a < b ? -1 : a > b ? 1 : 0;
    return sorted.falling ? -order : order;
  });
}

function makeSortable(cell, [heading, , isText, key]) {
  if (key === null) return;
  const isOn = sorted.heading === heading;
  cell.setAttribute("aria-sort", isOn ? (sorted.falling ? "descending" : "ascending") : "none");
  const button = element("button", { type: "button", class: "sort", "data-heading": heading }, heading, element("span", { "aria-hidden": "true" }, isOn ? (sorted.falling ? " ▼" : " ▲") : ""));
  button.addEventListener("click", () => {
    sorted = { heading, falling: isOn ? !sorted.falling : !isText || heading === "Started" };
    drawTable();
    $("past").querySelector(`[data-heading="${heading}"]`).focus();
  });
  cell.replaceChildren(button);
}

function choice(run) {
  const tags = tagsOf(run).map((tag) => element("span", { class: "tag" }, tag));
  const called = run.name ? [element("strong", {}, run.name), element("small", { class: "quiet" }, run.folder)] : [run.folder];
  const words = element("span", { class: "called" }, ...called, ...(tags.length ? [element("span", { class: "tags" }, ...tags)] : []));
  if (!run.comparable) return element("span", { class: "choice without" }, words);
  const label = `Choose ${run.name || run.folder}`;
  return element("span", { class: "choice" }, element("input", { type: "checkbox", value: run.folder, checked: chosen.has(run.folder), "aria-label": label }), words);
}

function status({ status, note, recover }) {
  return element("span", {},
    status === "damaged" || status === "not ended" ? pill(status, false) : status,
    ...(note ? [element("small", { class: "note" }, note, ...(recover ? [" Complete it with ", element("code", {}, recover)] : []))] : []));
}

const linkTo = (run, name, words) => element("a", { href: `runs/${encodeURIComponent(run.folder)}/${name}` }, words);

// The verdict, and the report that has its reasons.
function verdict(run) {
  const shown = run.validity === null ? NONE : pill(run.validity, run.validity === "valid");
  if (!run.files.includes("report.html")) return shown;
  const report = opensInside(linkTo(run, "report.html", "Report"), `Report of ${run.name || run.folder}`);
  return element("span", { class: "verdict" }, shown, report);
}

function requestsLink(run) {
  return run.files.includes("requests.csv") ? linkTo(run, "requests.csv", "CSV") : NONE;
}

function offerComparison() {
  for (const [kind, fewest] of Object.entries(FEWEST)) $(kind).disabled = chosen.size < fewest;
  $("compare-hint").textContent = chosen.size < 2 ? "Choose two runs or more to compare them, three or more for their trend." : `${chosen.size} runs chosen.`;
  $("unlike").hidden = true;
}

// Oldest first. It is shown inside the page: browsers block tabs that open seconds after the click.
async function draw(kind, allow) {
  const query = new URLSearchParams([...chosen].sort().map((run) => ["run", run]));
  if (allow) query.set("allow", "1");
  for (const each of Object.keys(FEWEST)) $(each).disabled = true;
  $("compare-hint").textContent = "Drawing …";
  try {
    const answer = await fetch(`${kind}?${query}`);
    const drawn = await answer.json();
    offerComparison();
    if (drawn.page) return showDocument(`${TITLES[kind]} of ${chosen.size} runs`, drawn.page);
    refused = kind;
    showLines($("unlike").firstElementChild, drawn.message);
    $("unlike").lastElementChild.hidden = !drawn.can_allow;
    $("unlike").hidden = false;
  } catch (error) {
    offerComparison();
    $("compare-hint").textContent = `Locust could not be reached: ${error.message}`;
  }
}

$("past").addEventListener("change", ({ target }) => {
  if (target.checked) chosen.add(target.value);
  else chosen.delete(target.value);
  offerComparison();
});
$("search").addEventListener("input", drawTable);
for (const kind of Object.keys(FEWEST)) $(kind).addEventListener("click", () => draw(kind, false));
$("unlike").lastElementChild.addEventListener("click", () => draw(refused, true));
