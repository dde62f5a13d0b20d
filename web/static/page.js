// Requests what is new every 2 s and shows it.
import { Charts } from "./charts.js";
import { drawForm, messageOf, onStart } from "./form.js";
import { clock, duration, NONE, number, share } from "./format.js";
import { showPast } from "./past.js";
import { opensInside } from "./reader.js";
import { element, fill, showLines } from "./tables.js";

const EVERY_MS = 2000;
const MOST_ROWS = 240; // of the charts as a table: 20 minutes
const $ = (id) => document.getElementById(id);
const charts = new Charts($("charts"));
let lastAnswer = null;
const shown = { run: "", revision: 0, points: [], columns: [], spoken: null, isStopping: false, state: null, status: null };
const PROMPT = { off: "without system prompt", on: "with system prompt" };
const WORDS = {
  ready: "ready", starting: "starting", spawning: "adding users", running: "running", stopping: "stopping",
  cleanup: "stopping", stopped: "stopped", missing: "no runner",
};
const STOPPING = new Set(["stopping", "cleanup"]);
const BUSY = new Set(["starting", "spawning", "running", ...STOPPING]);

const nameOf = (level) => `${level.label} ${PROMPT[level.system_prompt]}${level.warm_up ? ", warm-up" : ""}`;
const shortNameOf = (level) => level.level + (level.system_prompt === "on" ? " +sys" : "");
const isOpenLoop = (levels) => levels.some((level) => level.open_loop !== null);
const wasCut = (level) => level.state === "over" && !level.complete;
const text = (id, words) => { if ($(id).textContent !== words) $(id).textContent = words; };

async function poll() {
  try {
    const answer = await fetch(`live.json?run=${encodeURIComponent(shown.run)}&revision=${shown.revision}`);
    if (answer.redirected || answer.status === 401) throw new Error("you are no longer logged in; reload the page to log in again");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const live = await answer.json();
    lastAnswer = new Date();
    document.body.classList.remove("stale");
    $("offline").hidden = true;
    await show(live);
  } catch (error) {
    showLost(error);
  }
  setTimeout(poll, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

// The page then shows when its figures are from.
function showLost(error) {
  const since = lastAnswer === null ? "" : ` since ${lastAnswer.toLocaleTimeString("en-GB")}`;
  const shownOf = lastAnswer === null ? "" : " The figures below are from then, and do not change.";
  // A TypeError is the browser's "Failed to fetch", which says no more.
  const why = error instanceof TypeError ? "" : ` (${error.message})`;
  const recover = shown.status === "running" ? ` If its process has ended: ${shown.recover}` : "";
  text("offline", `Lost connection to Locust${since}${why}.${shownOf}${recover}`);
  $("offline").hidden = false;
  $("stop").hidden = true;
  text("state", "no connection");
  document.body.classList.add("stale");
}

async function show(live) {
  const busy = BUSY.has(live.state);
  const ended = shown.state !== null && BUSY.has(shown.state) && !busy;
  if (live.status !== "running") shown.isStopping = false;
  const isStopping = live.status === "running" && (shown.isStopping || STOPPING.has(live.state));
  text("state", stateOf(live, isStopping));
  $("stop").hidden = isStopping || !["starting", "spawning", "running"].includes(live.state);
  showLines($("refusal"), live.refusal ? `Run not started: ${live.refusal}` : "");
  // Where it was the answer to this page's own start, it stands beside the form.
  $("refusal").hidden = !live.refusal || !$("complaint").hidden;
  if (ended || (live.status !== shown.status && live.status !== "running")) await showPast();
  if (shown.state === null || busy !== BUSY.has(shown.state)) $("start-fold").open = !busy;
  if (ended) await drawForm();
  shown.state = live.state;
  Object.assign(shown, { status: live.status, recover: live.recover });
  if (!live.run || !live.levels) return;
  if (live.run !== shown.run) {
    Object.assign(shown, { run: live.run, points: [], spoken: null, isStopping: false });
    charts.clear();
  }
  shown.revision = live.revision;
  shown.columns = live.columns;
  for (const [index, ...values] of live.points) shown.points[index] = values;
  $("run").hidden = false;
  showFacts(live);
  showPlan(live, isStopping);
  showTiles(live);
  showLevels(live.levels, live.status !== "running");
  showWorkers(live);
  showPoints();
  charts.update(live.columns, live.points);
  charts.draw(live.levels, live.progress.elapsed_s);
}

// Locust calls every run that is over stopped: the run's own status says whether it was.
function stateOf({ state, status }, isStopping) {
  if (state === "stopped" && status && status !== "running") return status;
  return WORDS[isStopping ? "stopping" : state] ?? state;
}

function showStopping() {
  text("state", WORDS.stopping);
  text("where", "Stopping: streams are being cut.");
  speak("Stopping.");
  $("stop").hidden = true;
}

function showFacts(live) {
  const { facts, validity, status, run, folder, hints, warnings, workers_missing: missing } = live;
  text("run-heading", status === "running" ? "Run" : `Last run (${status})`);
  const version = facts.engine_version ? ` ${facts.engine_version}` : "";
  const prompt = facts.system_prompt ? ` · system prompt: ${facts.system_prompt}` : "";
  text("facts", `${facts.engine}${version} at ${facts.host}${facts.model ? `, model ${facts.model}` : ""}${prompt} · results in ${folder}`);
  text("verdict", validity.verdict);
  $("verdict").className = `pill ${validity.verdict === "valid" ? "good" : "bad"}`;
  $("capacity").hidden = !live.capacity;
  text("capacity", live.capacity ? `Capacity: ${live.capacity}` : "");
  const lost = missing ? [`${missing} of the workers ${missing === 1 ? "is" : "are"} missing.`] : [];
  // Of a run that is over: the sentences that its table and report begin with.
  showReasons(warnings ?? [...lost, ...validity.reasons, ...hints]);
  showResult(live);
  showConditions(live.conditions);
  if ($("files").dataset.shown !== run + status) {
    $("files").dataset.shown = run + status;
    const files = [...(status === "running" ? [] : [["report.html", "Report"]]), ["requests.csv", "Requests (CSV)"], ["windows.csv", "Windows (CSV)"]];
    const links = files.map(([name, words]) => element("a", { href: `runs/latest/${name}` }, words));
    if (status !== "running") opensInside(links[0], `Report of ${run}`);
    $("files").replaceChildren(...links);
  }
}

// The first in full, the others folded, so that the figures stay in sight: each level may have several.
function showReasons(reasons) {
  $("reasons").hidden = reasons.length === 0;
  if ($("reasons").dataset.shown === reasons.join()) return;
  $("reasons").dataset.shown = reasons.join();
  const [first, fold] = $("reasons").children;
  const [summary, others] = fold.children;
  const rest = reasons.length - 1;
  first.replaceChildren(...reasons.slice(0, 1).map((reason) => element("li", {}, reason)));
  others.replaceChildren(...reasons.slice(1).map((reason) => element("li", {}, reason)));
  fold.hidden = rest <= 0;
  summary.textContent = `${rest} more ${rest === 1 ? "reason" : "reasons"}`;
}

// Of a run that is over: in the header, which stays in sight wherever the page is scrolled to.
function showResult({ status, validity }) {
  $("result").hidden = status === "running";
  $("result").className = `pill ${validity.verdict === "valid" ? "good" : "bad"}`;
  text("result", `${validity.verdict}: report`);
  $("result").setAttribute("aria-label", `The last run is ${validity.verdict}: show its report`);
}

// Of --fail-if and --pass-if, when the run is over.
function showConditions(conditions) {
  $("conditions").hidden = conditions.length === 0;
  $("conditions").replaceChildren(...conditions.map(({ condition, level, status, figures }) => element("li", {},
    element("span", { class: `pill ${status === "pass" ? "good" : "bad"}` }, status), ` ${condition} · ${level}: ${figures}`)));
}

function showPlan({ levels, progress, status, facts }, isStopping) {
  const current = levels.find((level) => level.index === progress.index);
  const measured = levels.filter((level) => !level.warm_up);
  const next = levels.find((level) => level.state === "planned");
  const bars = levels.map((level) => {
    const on = level === current;
    // A level that was stopped early ended before its time: its bar stays where it was.
    const elapsed = level.began_s === null ? 0 : (level.ended_s ?? progress.elapsed_s) - level.began_s;
    const done = level.level_time_s === null ? Number(level.state === "over") : Math.min(1, Math.max(0, elapsed / level.level_time_s));
    const bar = element("div", { class: "bar" }, element("i"));
    bar.firstChild.style.setProperty("--done", done);
    const item = element("li", { class: on ? "on" : "", "aria-current": on ? "step" : null, title: nameOf(level) }, bar, element("span", { class: "name" }, shortNameOf(level)));
    item.style.setProperty("--share", level.level_time_s ?? 1);
    return item;
  });
  $("plan").replaceChildren(...bars);
  if (!current && status === "running") {
    if (isStopping) return showStopping();
    const without = facts.shape === "capacity" ? "The search chooses its next load." : "The last level is over; the run is ending.";
    text("where", next ? `Next: ${nameOf(next)}.` : without);
    return;
  }
  if (!current) {
    const not = measured.filter((level) => level.state === "planned").length;
    const cut = levels.filter(wasCut).map((level) => `; the level of ${nameOf(level)} is not complete`).join("");
    text("where", `${status[0].toUpperCase()}${status.slice(1)} after ${clock(progress.elapsed_s)}${cut}${not ? `; ${not} of ${measured.length} levels did not run` : ""}.`);
    speak("The run is over.");
    return;
  }
  if (isStopping) return showStopping();
  const until = progress.phase_left_s !== null ? `, ${clock(progress.phase_left_s)} left` : "";
  // Each probe of a search decides which one comes next, so nobody knows how many there will be.
  const isSearch = facts.shape === "capacity";
  const then = next ? `Next: ${nameOf(next)}.` : "This is the last level.";
  const left = isSearch ? "The search ends when it has found the limit." : `${then} ${leftText(progress)}`;
  // A warm-up is counted with the level that it comes before.
  const place = measured.filter((level) => level.index < current.index).length + 1;
  const number = isSearch ? `Probe ${place}` : `Level ${place} of ${measured.length}`;
  text("where", `${number}: ${nameOf(current)} · ${progress.phase}${until}. ${left}`);
  speak(`${number}${current.warm_up ? ", its warm-up," : ""} has begun: ${nameOf(current)}.`);
}

function leftText({ left_s, ends_with_requests }) {
  if (left_s === null) return ends_with_requests ? "The run ends when all its requests have ended." : "It runs until it is stopped.";
  if (left_s < 1) return "The run ends when its open responses have ended.";
  return `${ends_with_requests ? "At most" : "About"} ${clock(left_s)} left in all, plus the time until open responses end.`;
}

// Screen readers get only changes of level: figures every 2 s would drown everything else.
function speak(words) {
  if (shown.spoken === words) return;
  shown.spoken = words;
  text("spoken", words);
}

// The newest window of the last half minute that has the figure: its value, and which window it is.
function latest(column) {
  const place = (name) => shown.columns.indexOf(name);
  for (let i = shown.points.length - 1; i >= Math.max(0, shown.points.length - 6); i--) {
    const value = shown.points[i]?.[place(column)] ?? null;
    if (value === null) continue;
    const [start, end] = ["start_s", "end_s"].map((name) => clock(shown.points[i][place(name)]));
    return { value, period: `${start} to ${end}` };
  }
  return { value: null, period: "last 30 s" };
}

// During a run: its last seconds. Afterwards: the hold of its last level, because the drain has no load.
function showTiles({ users, totals, status, levels }) {
  const over = status !== "running";
  const last = over ? levels.findLast((level) => level.state === "over" && level.ttft_p50_s !== null) : null;
  const isMixed = new Set(levels.map((level) => level.system_prompt)).size > 1;
  const period = last ? `hold, ${isMixed ? nameOf(last) : last.label}` : "no level has figures";
  const figure = (column) => (over ? { value: last?.[column] ?? null, period } : latest(column));
  const rate = over ? figure("token_rate") : { value: totals.tokens_per_s, period: "last 5 s" };
  const [p50, p95, p99] = ["ttft_p50_s", "ttft_p95_s", "ttft_p99_s"].map(figure);
  const fourth = figure(over ? "tpot_p50_s" : "gap_p50_s");
  const delay = latest("client_delay_p99_s");
  const tiles = [
    ["Tokens/s", number(rate.value), rate.period],
    ["TTFT p50", duration(p50.value), p50.period],
    ["TTFT p95", duration(p95.value), p95.period],
    ["TTFT p99", duration(p99.value), p99.period],
    [over ? "TPOT p50" : "Gap p50", duration(fourth.value), fourth.period],
    ...loadTiles({ users, totals, levels, over, last, period }),
    ["Requests", number(totals.requests), "whole run"],
    ["Failures", number(totals.failures), "whole run"],
    ["Client delay p99", duration(delay.value), delay.period],
  ];
  if ($("tiles").children.length !== tiles.length) {
    const tile = () => element("div", {}, element("dt", {}, element("span"), element("small")), element("dd"));
    $("tiles").replaceChildren(...tiles.map(tile));
  }
  tiles.forEach(([name, value, when], i) => {
    const [dt, dd] = $("tiles").children[i].children;
    [[dt.children[0], name], [dt.children[1], when], [dd, value]].forEach(([place, words]) => {
      if (place.textContent !== words) place.textContent = words;
    });
  });
}

// Users of a closed loop; of an open one, which has none, its rates.
function loadTiles({ users, totals, levels, over, last, period }) {
  const when = over ? "run is over" : "now";
  if (!isOpenLoop(levels)) return [["Users · in flight", `${number(users)} · ${number(totals.in_flight)}`, when]];
  const names = ["offered_rate", "sent_rate", "completed_rate"];
  const values = over ? names.map((name) => last?.open_loop[name]) : names.map((name) => totals[name]);
  return [
    ["In flight", number(totals.in_flight), when],
    ["Offered · sent · completed", values.map(number).join(" · "), over ? period : "requests/s, last 5 s"],
  ];
}

// The columns of an open loop.
const OPEN_COLUMNS = [
  ["Backlog", (level) => backlog(level.open_loop?.unstable), true],
  ["Offered/s", (level) => number(level.open_loop?.offered_rate)],
  ["Sent/s", (level) => number(level.open_loop?.sent_rate)],
  ["Completed/s", (level) => number(level.open_loop?.completed_rate)],
  ["In flight", (level) => number(level.open_loop?.in_flight_mean)],
  ["Lag p99", (level) => duration(level.open_loop?.lag_p99_s)],
  ["TTFT from schedule p99", (level) => duration(level.open_loop?.ttft_scheduled_p99_s)],
];

// The columns of sessions of several turns.
const SESSION_COLUMNS = [
  ["Sessions begun", (level) => number(level.sessions?.started)],
  ["completed", (level) => number(level.sessions?.completed)],
  ["failed", (level) => number(level.sessions?.failed)],
  ["Turns", (level) => number(level.sessions?.turns_mean)],
  ["Session p50", (level) => duration(level.sessions?.duration_p50_s ?? null)],
];

// Marked where it describes the length of the level, and not the server.
const latency = (column) => (level) => duration(level[column]) + (level.open_loop?.unstable && level[column] !== null ? "~" : "");

function backlog(unstable) {
  if (unstable === null || unstable === undefined) return NONE;
  return unstable ? element("span", { class: "pill bad" }, "unstable") : "stable";
}

// What matters comes first: on a phone, the rest is scrolled to.
function showLevels(levels, over) {
  const stateOfLevel = (level) => (level.warm_up ? "warm-up, " : "") + progressOf(level);
  const progressOf = (level) => {
    if (wasCut(level)) return "not complete";
    if (level.state === "planned") return over ? "not run" : "planned";
    return level.state === "over" ? "done" : level.state;
  };
  const columns = [
    [isOpenLoop(levels) ? "Level" : "Users", shortNameOf],
    ["Tokens/s", (level) => number(level.token_rate)],
    ["TTFT p50", latency("ttft_p50_s")],
    ["p95", latency("ttft_p95_s")],
    ...(levels.some((level) => level.within_objectives !== null) ? [["Met the SLO", (level) => share(level.within_objectives)]] : []),
    ...(isOpenLoop(levels) ? OPEN_COLUMNS : []),
    ["TTFT p99", latency("ttft_p99_s")],
    ["TPOT p50", latency("tpot_p50_s")],
    ["Gap p99", latency("gap_p99_s")],
    ["E2E p95", latency("e2e_p95_s")],
    ...(levels.some((level) => level.sessions) ? SESSION_COLUMNS : []),
    ["Failed", (level) => number(level.state === "planned" ? null : level.failures)],
    ...(levels.some((level) => level.abandoned) ? [["Abandoned", (level) => number(level.state === "planned" ? null : level.abandoned)]] : []),
    ["Requests", (level) => number(level.state === "planned" ? null : level.requests)],
    ["State", stateOfLevel, true],
    ["System prompt", (level) => level.system_prompt, true],
  ];
  fill($("levels"), columns, levels, (level) => level.state === "running");
  showNames(levels);
}

// Requests of users of a locustfile's own have names.
function showNames(levels) {
  const rows = levels.flatMap((level) => level.names.map((named) => ({ ...named, level })));
  $("by-name").hidden = !rows.length;
  fill($("names"), [
    ["Name", (row) => row.name],
    [isOpenLoop(levels) ? "Level" : "Users", (row) => row.level.level],
    ["Requests", (row) => number(row.requests)],
    ["Failed", (row) => number(row.failures)],
    ["TTFT p50", latency("ttft_p50_s")],
    ["p99", latency("ttft_p99_s")],
    ["TPOT p50", latency("tpot_p50_s")],
    ["E2E p95", latency("e2e_p95_s")],
  ], rows);
}

function showWorkers({ workers }) {
  fill($("workers"), [
    ["Worker", (worker) => String(worker.worker)],
    ["Requests", (worker) => number(worker.requests)],
    ["In flight", (worker) => number(worker.in_flight)],
    ["Tokens/s", (worker) => number(worker.tokens_per_s)],
    ["CPU (of a core)", (worker) => share(worker.cpu_utilization)],
    ["Client delay p99", (worker) => duration(worker.client_delay_p99_s)],
    ["Event-loop lag p99", (worker) => duration(worker.loop_lag_p99_s)],
    ["Limits of the whole run", (worker) => element("span", { class: `pill ${worker.validity.verdict === "valid" ? "good" : "bad"}`, title: worker.validity.reasons.join("; ") }, worker.validity.verdict === "valid" ? "kept" : "exceeded"), true],
  ], workers);
}

function showPoints() {
  if (!$("points").open) return;
  const newest = shown.points.filter(Boolean).reverse();
  $("points-note").hidden = newest.length <= MOST_ROWS;
  text("points-note", `The newest ${MOST_ROWS} of ${number(newest.length)} windows; windows.csv has all.`);
  const value = (column, form) => (point) => form(point[shown.columns.indexOf(column)]);
  const failures = (counts) => Object.entries(counts).map(([name, count]) => `${count} ${name.replace("_", " ")}`).join(", ") || "0";
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
    ["Offered/s", value("offered_rate", number)],
    ["Sent/s", value("sent_rate", number)],
    ["Completed/s", value("completed_rate", number)],
    ["Failures", value("failures", failures)],
    ["Client delay p99", value("client_delay_p99_s", duration)],
  ], newest.slice(0, MOST_ROWS));
}

$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = localStorage.theme = dark ? "dark" : "light";
});
$("stop").addEventListener("click", async () => {
  $("stop").disabled = true;
  shown.isStopping = true;
  showStopping();
  try {
    const answer = await fetch("../stop", { method: "POST" });
    if (answer.ok) return;
    shown.isStopping = false;
    showLines($("refusal"), `The run was not stopped: ${await messageOf(answer)}`);
    $("refusal").hidden = false;
  } finally {
    $("stop").disabled = false;
  }
});
$("points").addEventListener("toggle", showPoints);
opensInside($("result"), () => `Report of ${shown.run}`);
onStart(() => { $("start-fold").open = false; $("main").scrollIntoView(); });
await Promise.all([drawForm(), showPast()]);
poll();
