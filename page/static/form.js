// The form of a new run: drawn from what the options are, sent to Locust, which has it checked first.
import { element } from "./tables.js";

const options = new Map();
const form = document.getElementById("start");
const complaint = document.getElementById("complaint");

export async function drawForm() {
  const groups = await (await fetch("form.json")).json();
  options.clear();
  const drawn = groups.map((group) => {
    const fields = element("div", { class: "fields" }, ...group.fields.map(field));
    if (!group.folded) return element("fieldset", {}, element("legend", {}, group.title), fields);
    return element("details", { class: "folded" }, element("summary", {}, group.title), fields);
  });
  document.getElementById("groups").replaceChildren(...drawn);
  form.elements.shape?.addEventListener("change", showWhatCounts);
  showWhatCounts();
}

function field(told) {
  const id = `option-${told.name}`;
  const common = { id, name: told.name, "aria-describedby": `${id}-help` };
  let input;
  if (told.kind === "choice") {
    input = element("select", common, ...told.choices.map((choice) => element("option", { selected: choice === told.value }, choice)));
  } else if (told.kind === "check") {
    input = element("input", { ...common, type: "checkbox", checked: told.value });
  } else {
    input = element("input", {
      ...common, value: told.value, autocomplete: "off", spellcheck: "false", inputmode: told.kind === "number" ? "numeric" : null,
      list: told.suggestions.length ? `${id}-suggestions` : null,
    });
  }
  const suggestions = element("datalist", { id: `${id}-suggestions` }, ...told.suggestions.map((value) => element("option", { value })));
  const label = element("label", { for: id }, told.label);
  const help = element("small", { id: `${id}-help` }, told.help);
  const made = told.kind === "check"
    ? element("div", { class: "field check" }, input, label, help)
    : element("div", { class: "field" }, label, input, help, ...(told.suggestions.length ? [suggestions] : []));
  options.set(told.name, { told, input, made });
  return made;
}

// The ladder goes by its levels, the free shape by Locust's own fields: what does not count is not shown.
function showWhatCounts() {
  const shape = form.elements.shape?.value;
  for (const { told, made } of options.values()) made.hidden = told.only_with !== "" && told.only_with !== shape;
}

function values() {
  const sent = new URLSearchParams();
  for (const [name, { told, input, made }] of options) if (!made.hidden) sent.set(name, told.kind === "check" ? String(input.checked) : input.value.trim());
  return sent;
}

function complain(sentence) {
  complaint.textContent = sentence;
  complaint.hidden = false;
  for (const { input } of options.values()) input.removeAttribute("aria-invalid");
  const named = sentence.match(/--([a-z-]+)/);
  const found = named && options.get({ users: "user_count" }[named[1]] ?? named[1].replaceAll("-", "_"));
  if (!found) return complaint.focus();
  found.made.closest("details.folded")?.setAttribute("open", "");
  found.input.setAttribute("aria-invalid", "true");
  found.input.focus();
}

async function contentOf(answer) {
  const text = await answer.text();
  const isJson = answer.headers.get("content-type")?.includes("json");
  return isJson ? JSON.parse(text) : { success: false, message: text };
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
    button.textContent = "Asking the server …";
    try {
      const answer = await fetch("../swarm", { method: "POST", body: values() });
      const told = await contentOf(answer);
      if (told.success) {
        complaint.hidden = true;
        for (const { input } of options.values()) input.removeAttribute("aria-invalid");
        begun();
      } else complain(told.message);
    } catch (error) {
      complain(`Locust could not be reached: ${error.message}`);
    } finally {
      button.disabled = false;
      button.textContent = "Start";
    }
  });
}
