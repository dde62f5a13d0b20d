// Asks each 2 s what is new, and shows it.
import { Charts } from "./charts.js";
import { drawForm, messageOf, onStart } from "./form.js";
import { clock, duration, NONE, number, share } from "./format.js";
import { element, fill } from "./tables.js";

const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);
const charts = new Charts($("charts"));
const shown = { run: "", revision: 0, points: [], columns: [], stage: null, state: null, status: null };
const PROMPT = { off: "without system prompt", on: "with system prompt" };
const WORDS = {
  ready: "ready", starting: "starting", spawning: "adding users", running: "running", stopping: "stopping",
  cleanup: "stopping", stopped: "stopped", missing: "no runner",
};
const BUSY = new Set(["starting", "spawning", "running", "stopping", "cleanup"]);

const nameOf = (level) => `${level.level} users ${PROMPT[level.system_prompt]}`;
const wasCut = (level) => level.state === "over" && !level.complete;
const text = (id, words) => { if ($(id).textContent !== words) $(id).textContent = words; };

async function poll() {
  try {
    const answer = await fetch(`live.json?run=${encodeURIComponent(shown.run)}&revision=${shown.revision}`);
    if (answer.redirected || answer.status === 401) throw new Error("you are no longer logged in; reload the page to log in again");
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    await show(await answer.json());
    $("offline").hidden = true;
  } catch (error) {
    text("offline", `No news from Locust: ${error.message}.`);
    $("offline").hidden = false;
  }
  setTimeout(poll, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

async function show(told) {
  const busy = BUSY.has(told.state);
  const ended = shown.state !== null && BUSY.has(shown.state) && !busy;
  text("state", WORDS[told.state] ?? told.state);
  $("stop").hidden = !["starting", "spawning", "running"].includes(told.state);
  text("refusal", told.refusal ? `The run did not begin: ${told.refusal}` : "");
  $("refusal").hidden = !told.refusal;
  if (ended || (told.status !== shown.status && told.status !== "running")) await showPast();
  if (shown.state === null || busy !== BUSY.has(shown.state)) $("start-fold").open = !busy;
  if (ended) await drawForm();
  shown.state = told.state;
  shown.status = told.status;
  if (!told.run || !told.levels) return;
  if (told.run !== shown.run) {
    Object.assign(shown, { run: told.run, points: [], stage: null });
    charts.clear();
  }
  shown.revision = told.revision;
  shown.columns = told.columns;
  for (const [index, ...values] of told.points) shown.points[index] = values;
  $("run").hidden = false;
  showFacts(told);
  showPlan(told);
  showTiles(told);
  showLevels(told.levels, told.status !== "running");
  showWorkers(told);
  showPoints();
  charts.take(told.columns, told.points);
  await charts.draw(told.levels, told.progress.elapsed_s);
}

function showFacts(told) {
  const { facts, validity, status, run, hints, workers_missing: missing } = told;
  text("run-heading", status === "running" ? "Run" : `Last run (${status})`);
  const version = facts.engine_version ? ` ${facts.engine_version}` : "";
  text("facts", `${facts.engine}${version} at ${facts.host}${facts.model ? `, model ${facts.model}` : ""} · results in ${run}`);
  text("verdict", validity.verdict);
  $("verdict").className = `pill ${validity.verdict === "valid" ? "good" : "bad"}`;
  const lost = missing ? [`${missing} of the workers ${missing === 1 ? "is" : "are"} missing.`] : [];
  const reasons = [...lost, ...validity.reasons, ...hints];
  $("reasons").hidden = reasons.length === 0;
  if ($("reasons").dataset.told !== reasons.join()) {
    $("reasons").dataset.told = reasons.join();
    $("reasons").replaceChildren(...reasons.map((reason) => element("li", {}, reason)));
  }
  showConditions(told.conditions);
  if ($("files").dataset.told !== run + status) {
    $("files").dataset.told = run + status;
    const names = status === "running" ? ["requests.csv", "windows.csv"] : [];
    $("files").replaceChildren(...names.map((name) => element("a", { href: `runs/latest/${name}` }, name)));
  }
}

// Of --fail-if and --pass-if, when the run is over.
function showConditions(conditions) {
  $("conditions").hidden = conditions.length === 0;
  $("conditions").replaceChildren(...conditions.map(({ condition, level, status, figures }) => element("li", {},
    element("span", { class: `pill ${status === "pass" ? "good" : "bad"}` }, status), ` ${condition} · ${level}: ${figures}`)));
}

function showPlan({ levels, progress }) {
  const current = levels.find((level) => level.stage === progress.stage);
  const next = levels.find((level) => level.state === "planned");
  const bars = levels.map((level) => {
    const on = level === current;
    // A level that was stopped early ended before its time: its bar stays where it was.
    const elapsed = level.began_s === null ? 0 : (level.ended_s ?? progress.elapsed_s) - level.began_s;
    const done = level.level_time_s === null ? Number(level.state === "over") : Math.min(1, elapsed / level.level_time_s);
    const bar = element("div", { class: "bar" }, element("i"));
    bar.firstChild.style.setProperty("--done", done);
    const name = level.level + (level.system_prompt === "on" ? " +sys" : "");
    const item = element("li", { class: on ? "on" : "", "aria-current": on ? "step" : null, title: nameOf(level) }, bar, element("span", { class: "name" }, name));
    item.style.setProperty("--share", level.level_time_s ?? 1);
    return item;
  });
  $("plan").replaceChildren(...bars);
  if (!current) {
    const not = levels.filter((level) => level.state === "planned").length;
    const cut = levels.filter(wasCut).map((level) => `; ${nameOf(level)} was cut short`).join("");
    text("where", `Finished after ${clock(progress.elapsed_s)}${cut}${not ? `; ${not} of ${levels.length} levels did not run` : ""}.`);
    speak("The run is over.");
    return;
  }
  const until = progress.phase_left_s !== null ? `, ${clock(progress.phase_left_s)} left of it` : "";
  const then = next ? `Next: ${nameOf(next)}.` : "It is the last level.";
  const left = progress.left_s === null ? "It goes on until it is stopped." : `About ${clock(progress.left_s)} to go, plus the time that running responses need.`;
  text("where", `Level ${current.stage + 1} of ${levels.length}: ${nameOf(current)} · ${progress.phase}${until}. ${then} ${left}`);
  speak(`Level ${current.stage + 1} of ${levels.length} has begun: ${nameOf(current)}.`);
}

// Only what changed of the run's course is said aloud: figures each 2 s would drown everything.
function speak(words) {
  if (shown.stage === words) return;
  shown.stage = words;
  text("spoken", words);
}

function latest(column) {
  const at = shown.columns.indexOf(column);
  for (let i = shown.points.length - 1; i >= Math.max(0, shown.points.length - 6); i--) {
    if (shown.points[i]?.[at] !== null && shown.points[i] !== undefined) return shown.points[i][at];
  }
  return null;
}

// While a run goes on: its last seconds. Afterwards: its last level's hold, for the drain that follows has no load.
function showTiles({ users, totals, status, levels }) {
  const over = status !== "running";
  const last = over ? levels.findLast((level) => level.state === "over" && level.ttft_p50_s !== null) : null;
  const of = last ? `, ${nameOf(last)}` : "";
  const value = (column) => (over ? (last?.[column] ?? null) : latest(column));
  const tiles = [
    [`Tokens/s${of}`, number(over ? (last?.token_rate ?? null) : totals.tokens_per_s)],
    [`TTFT p50${of}`, duration(value("ttft_p50_s"))],
    [`TTFT p95${of}`, duration(value("ttft_p95_s"))],
    [`TTFT p99${of}`, duration(value("ttft_p99_s"))],
    over ? [`TPOT p50${of}`, duration(value("tpot_p50_s"))] : ["Gap p50", duration(value("gap_p50_s"))],
    ["Users · in flight", `${number(users)} · ${number(totals.in_flight)}`],
    ["Requests", number(totals.requests)],
    ["Failures", number(totals.failures)],
    ["Client delay p99", duration(latest("client_delay_p99_s"))],
  ];
  if ($("tiles").children.length !== tiles.length) {
    $("tiles").replaceChildren(...tiles.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  tiles.forEach(([name, value], i) => {
    const [dt, dd] = $("tiles").children[i].children;
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== value) dd.textContent = value;
  });
}

function showLevels(levels, over) {
  const columns = [
    ["Users", (level) => level.level],
    ["System prompt", (level) => level.system_prompt, true],
    ["State", (level) => (wasCut(level) ? "cut short" : over && level.state === "planned" ? "not run" : level.state), true],
    ["Requests", (level) => number(level.state === "planned" ? null : level.requests)],
    ["Failed", (level) => number(level.state === "planned" ? null : level.failures)],
    ["Tokens/s", (level) => number(level.token_rate)],
    ["TTFT p50", (level) => duration(level.ttft_p50_s)],
    ["p95", (level) => duration(level.ttft_p95_s)],
    ["p99", (level) => duration(level.ttft_p99_s)],
    ["TPOT p50", (level) => duration(level.tpot_p50_s)],
    ["Gap p99", (level) => duration(level.gap_p99_s)],
    ["E2E p95", (level) => duration(level.e2e_p95_s)],
  ];
  if (levels.some((level) => level.within_objectives !== null)) columns.push(["Good", (level) => share(level.within_objectives)]);
  fill($("levels"), columns, levels, (level) => level.state === "running");
}

function showWorkers({ workers }) {
  fill($("workers"), [
    ["Worker", (worker) => String(worker.worker)],
    ["Requests", (worker) => number(worker.requests)],
    ["In flight", (worker) => number(worker.in_flight)],
    ["Tokens/s", (worker) => number(worker.tokens_per_s)],
    ["CPU (of a core)", (worker) => share(worker.cpu_utilization)],
    ["Client delay p99", (worker) => duration(worker.client_delay_p99_s)],
    ["Loop lag p99", (worker) => duration(worker.loop_lag_p99_s)],
    ["Verdict", (worker) => element("span", { class: `pill ${worker.validity.verdict === "valid" ? "good" : "bad"}`, title: worker.validity.reasons.join("; ") }, worker.validity.verdict), true],
  ], workers);
}

function showPoints() {
  if (!$("points").open) return;
  const value = (column, form) => (point) => form(point[shown.columns.indexOf(column)]);
  const failures = (told) => Object.entries(told).map(([name, count]) => `${count} ${name.replace("_", " ")}`).join(", ") || "0";
  fill($("points").querySelector("table"), [
    ["From", value("start_s", clock)],
    ["Tokens/s", value("tokens_per_s", number)],
    ["TTFT p50", value("ttft_p50_s", duration)],
    ["TTFT p95", value("ttft_p95_s", duration)],
    ["TTFT p99", value("ttft_p99_s", duration)],
    ["Gap p50", value("gap_p50_s", duration)],
    ["Gap p99", value("gap_p99_s", duration)],
    ["Users", value("users", number)],
    ["In flight", value("in_flight", number)],
    ["Failures", value("failures", failures)],
    ["Client delay p99", value("client_delay_p99_s", duration)],
  ], shown.points.filter(Boolean).reverse());
}

async function showPast() {
  const runs = await (await fetch("runs.json")).json();
  $("no-runs").hidden = runs.length > 0;
  $("past").hidden = runs.length === 0;
  const files = (run) => element("span", { class: "links" }, ...run.files.map((name) => element("a", { href: `runs/${encodeURIComponent(run.folder)}/${name}` }, name)));
  const chosen = new Set(chosenRuns());
  const choice = (run) => {
    const box = element("input", { type: "checkbox", value: run.folder, checked: chosen.has(run.folder), disabled: !run.files.includes("summary.json"), "aria-label": `Compare ${run.folder}` });
    return element("span", { class: "choice" }, box, run.folder);
  };
  $("compare-bar").hidden = runs.filter((run) => run.files.includes("summary.json")).length < 2;
  const verdict = (run) => (run.validity === null ? NONE : element("span", { class: `pill ${run.validity === "valid" ? "good" : "bad"}` }, run.validity));
  fill($("past"), [
    ["Run", choice],
    ["Status", (run) => run.status, true],
    ["Verdict", verdict, true],
    ["Engine", (run) => run.engine, true],
    ["Model", (run) => run.model || NONE, true],
    ["Levels", (run) => run.levels.join(", "), true],
    ["Files", files, true],
  ], runs);
  offerComparison();
}

function chosenRuns() {
  return [...$("past").querySelectorAll("input:checked")].map((box) => box.value);
}

function offerComparison() {
  const count = chosenRuns().length;
  $("compare").disabled = count < 2;
  text("compare-hint", count < 2 ? "Choose two runs or more." : `${count} runs, side by side.`);
  $("unlike").hidden = true;
}

// A link, not a tab that opens by itself: what opens seconds after its click, browsers hold back.
async function compare(allow) {
  const asked = new URLSearchParams(chosenRuns().reverse().map((run) => ["run", run]));
  if (allow) asked.set("allow", "1");
  $("compare").disabled = true;
  text("compare-hint", "Drawing …");
  try {
    const answer = await fetch(`compare?${asked}`);
    const told = await answer.json();
    offerComparison();
    if (told.page) {
      const page = URL.createObjectURL(new Blob([told.page], { type: "text/html" }));
      $("compare-hint").replaceChildren(element("a", { href: page, target: "_blank", id: "comparison" }, "Open the comparison"));
      $("comparison").focus();
    } else {
      $("unlike").firstElementChild.textContent = told.message;
      $("unlike").lastElementChild.hidden = allow || !told.message.includes("--allow");
      $("unlike").hidden = false;
    }
  } catch (error) {
    text("compare-hint", `Locust could not be reached: ${error.message}`);
  }
}

$("past").addEventListener("change", offerComparison);
$("compare").addEventListener("click", () => compare(false));
$("unlike").lastElementChild.addEventListener("click", () => compare(true));
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = localStorage.theme = dark ? "dark" : "light";
  charts.repaint();
});
$("stop").addEventListener("click", async () => {
  $("stop").disabled = true;
  try {
    const answer = await fetch("../stop", { method: "POST" });
    if (answer.ok) return;
    text("refusal", `The run was not stopped: ${await messageOf(answer)}`);
    $("refusal").hidden = false;
  } finally {
    $("stop").disabled = false;
  }
});
$("points").addEventListener("toggle", showPoints);
onStart(() => { $("start-fold").open = false; $("main").scrollIntoView(); });
await Promise.all([drawForm(), showPast()]);
poll();
