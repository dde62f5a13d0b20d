// The form of a new run: built from the options, sent to Locust, which checks it before the run starts.
import { element, showLines } from "./tables.js";

const options = new Map();
const form = document.getElementById("start");
const complaint = document.getElementById("complaint");
let lastErrors = []; // of a start that was refused

export async function drawForm() {
  const groups = await (await fetch("form.json")).json();
  options.clear();
  const drawn = groups.map((group) => {
    const fields = element("div", { class: "fields" }, ...group.fields.map(field));
    if (!group.folded) return element("fieldset", {}, element("legend", {}, group.title), fields);
    return element("details", { class: "folded" }, element("summary", {}, group.title), fields);
  });
  document.getElementById("groups").replaceChildren(...drawn);
  form.elements.shape?.addEventListener("change", showFieldsOfShape);
  showFieldsOfShape();
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

// The ladder uses its levels, the free shape Locust's own fields, an open loop its rate: fields without effect are hidden.
function showFieldsOfShape() {
  const shape = form.elements.shape?.value;
  for (const { spec, made } of options.values()) made.hidden = spec.only_with.length > 0 && !spec.only_with.includes(shape);
}

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
