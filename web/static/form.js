// The form of a new run: built from the options, sent to Locust, which checks it before the run starts.
import { element, showLines } from "./tables.js";

const options = new Map();
const form = document.getElementById("start");
const complaint = document.getElementById("complaint");
const intended = document.getElementById("intended");
const filled = document.getElementById("filled");
const PLAN_DELAY_MS = 250; // while somebody types
let lastErrors = []; // of a start that was refused
let planTimer = null;
let plansAsked = 0;

export async function drawForm() {
  const [groups, presets] = await Promise.all(["form.json", "presets.json"].map(async (name) => (await fetch(name)).json()));
  options.clear();
  const drawn = groups.map((group) => {
    const fields = element("div", { class: "fields" }, ...group.fields.map(field));
    if (!group.folded) return element("fieldset", {}, element("legend", {}, group.title), fields);
    return element("details", { class: "folded" }, element("summary", {}, group.title), fields);
  });
  document.getElementById("groups").replaceChildren(...drawn);
  document.getElementById("presets").replaceChildren(...presets.map(presetButton));
  filled.textContent = "";
  showFieldsThatCount();
  showPlan();
  if (lastErrors.length) complain(lastErrors);
}

function field(spec) {
  const id = `option-${spec.name}`;
  const common = { id, name: spec.name, "aria-describedby": `${id}-help` };
  let input;
  if (spec.kind === "choice") {
    input = element("select", common, ...spec.choices.map((choice) => element("option", { selected: choice === spec.value }, choice)));
  } else if (spec.kind === "check") {
    input = element("input", { ...common, type: "checkbox", checked: spec.value });
  } else {
    input = element("input", {
      ...common, value: spec.value, autocomplete: "off", spellcheck: "false", inputmode: spec.kind === "number" ? "numeric" : null,
      list: spec.suggestions.length ? `${id}-suggestions` : null,
    });
  }
  const suggestions = element("datalist", { id: `${id}-suggestions` }, ...spec.suggestions.map((value) => element("option", { value })));
  const label = element("label", { for: id }, spec.label);
  const help = element("small", { id: `${id}-help` }, spec.help);
  const made = spec.kind === "check"
    ? element("div", { class: "field check" }, input, label, help)
    : element("div", { class: "field" }, label, input, help, ...(spec.suggestions.length ? [suggestions] : []));
  options.set(spec.name, { spec, input, made });
  return made;
}

function presetButton(preset) {
  const button = element("button", { type: "button" }, element("strong", {}, preset.name), element("small", {}, preset.help));
  button.addEventListener("click", () => fillIn(preset));
  return button;
}

// A preset changes fields, and nothing else: they are marked until they are changed again.
function fillIn({ name, fields, if_empty: ifEmpty }) {
  const empty = Object.entries(ifEmpty).filter(([field]) => options.get(field)?.input.value.trim() === "");
  const set = new Map([...Object.entries(fields), ...empty]);
  for (const [field, { input }] of options) if (set.has(field)) input.value = set.get(field);
  showFieldsThatCount();
  for (const [field, { made }] of options) made.classList.toggle("by-preset", set.has(field) && !made.hidden);
  const seen = [...options.values()].filter(({ made }) => made.classList.contains("by-preset"));
  filled.textContent = `${name} filled in: ${seen.map(({ spec, input }) => `${spec.label} ${input.value || "empty"}`).join(", ")}.`;
  forget();
  showPlan();
}

// The ladder uses its levels, the free shape Locust's own fields, an open loop its rate: fields without effect are hidden.
function showFieldsThatCount() {
  const shape = form.elements.shape?.value;
  for (const { spec, made } of options.values()) made.hidden = spec.only_with.length > 0 && !spec.only_with.includes(shape);
  for (const { spec, made } of options.values()) made.hidden ||= !isMet(spec.only_if);
}

function isMet(condition) {
  const other = condition && options.get(condition[0]);
  if (!other || other.spec.only_with.length > 0 && !other.spec.only_with.includes(form.elements.shape?.value)) return true;
  const value = other.input.value.trim();
  return condition[1] === "" ? value !== "" : value === condition[1];
}

// Until the server's answer is of the fields as they are.
function markPlanStale() {
  plansAsked += 1;
  intended.classList.add("stale");
  intended.setAttribute("aria-busy", "true");
}

// What Start would run and how long it takes, as the server says it; of several answers, only the newest counts.
async function showPlan() {
  markPlanStale();
  const changed = new URLSearchParams([...values()].filter(([name, value]) => value !== String(options.get(name).spec.value)));
  const number = plansAsked;
  const answer = await fetch(`plan.json?${changed}`).catch(() => null);
  const { plan, errors } = answer?.ok ? await answer.json() : { plan: "", errors: [] };
  if (number !== plansAsked) return;
  const [first, ...others] = errors;
  const more = others.length ? ` (and ${others.length} more)` : "";
  intended.removeAttribute("aria-busy");
  intended.className = plan ? "intended" : "intended quiet";
  intended.replaceChildren(...(plan ? [element("strong", {}, "Start runs: "), `${plan}.`] : first ? [`No plan yet: ${first.text.split("\n")[0]}${more}`] : []));
}

form.addEventListener("input", ({ target }) => {
  target.closest(".field")?.classList.remove("by-preset");
  showFieldsThatCount();
  markPlanStale();
  clearTimeout(planTimer);
  planTimer = setTimeout(showPlan, PLAN_DELAY_MS);
});

function values() {
  const sent = new URLSearchParams();
  for (const [name, { spec, input, made }] of options) if (!made.hidden) sent.set(name, spec.kind === "check" ? String(input.checked) : input.value.trim());
  return sent;
}

// errors: each with the name of the field it is about, "" for none. All are listed above the button, each with a link to
// its field, and stand beside their fields.
function complain(errors) {
  forget();
  lastErrors = errors;
  const names = [...options.keys()];
  const place = ({ field }) => (names.includes(field) ? names.indexOf(field) : names.length);
  const sorted = [...errors].sort((one, other) => place(one) - place(other)); // as the form's fields
  const known = sorted.map(({ field: name, text }) => ({ text, found: name && !options.get(name)?.made.hidden ? options.get(name) : null }));
  complaint.replaceChildren(element("ul", {}, ...known.map(({ text, found }) => {
    const words = element("div");
    showLines(words, text);
    if (!found) return element("li", {}, words);
    const link = element("a", { href: `#${found.input.id}`, class: "to-field" }, found.spec.label);
    link.addEventListener("click", (event) => { event.preventDefault(); show(found); });
    return element("li", {}, link, words);
  })));
  complaint.closest("details")?.setAttribute("open", "");
  complaint.hidden = false;
  for (const { text, found } of known) if (found) mark(found, text);
  const first = known.find(({ found }) => found);
  if (first) show(first.found);
  else complaint.focus();
}

function mark({ input, made }, text) {
  const id = `${input.id}-error`;
  let error = document.getElementById(id);
  if (!error) {
    error = element("div", { id, class: "field-error" });
    made.append(error);
  }
  const line = element("div");
  showLines(line, text);
  error.append(line);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", `${id} ${input.id}-help`);
}

function show({ input, made }) {
  made.closest("details.folded")?.setAttribute("open", "");
  input.focus();
}

// The errors of the last start.
function forget() {
  lastErrors = [];
  complaint.hidden = true;
  for (const { input, made } of options.values()) {
    input.removeAttribute("aria-invalid");
    input.setAttribute("aria-describedby", `${input.id}-help`);
    made.querySelector(".field-error")?.remove();
  }
}

async function contentOf(answer) {
  const text = await answer.text();
  const isJson = answer.headers.get("content-type")?.includes("json");
  const content = isJson ? JSON.parse(text) : { success: false, message: text };
  return { errors: [{ field: "", text: content.message }], ...content };
}

// Why a request was refused.
export async function messageOf(answer) {
  return (await contentOf(answer)).message;
}

// begun: called when Locust has taken the run.
export function onStart(begun) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = document.getElementById("begin");
    button.disabled = true;
    button.textContent = "Connecting to the server …";
    try {
      const answer = await fetch("../swarm", { method: "POST", body: values() });
      const result = await contentOf(answer);
      if (result.success) {
        forget();
        begun();
      } else complain(result.errors);
    } catch (error) {
      complain([{ field: "", text: `Locust could not be reached: ${error.message}` }]);
    } finally {
      button.disabled = false;
      button.textContent = "Start";
    }
  });
}
