// Documents inside the page: a report, a comparison, a trend. They run no script, so they cannot reach the page; the page
// reaches them, for the keys that are pressed there.
import { element } from "./tables.js";

const $ = (id) => document.getElementById(id);
let address = null; // of the document shown, where it was made for this view

// A link to a report opens it inside; with a modifier key, or as a new tab, it stays a link. title: text, or a function
// that gives it.
export function opensInside(link, title) {
  link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const answer = await fetch(link.href).catch(() => null);
    if (answer?.ok) showDocument(typeof title === "function" ? title() : title, await answer.text(), link.href);
    else location.assign(link.href); // which shows why there is none
  });
  return link;
}

// html: the whole document; at: where it is found alone, null where it is nowhere.
export function showDocument(title, html, at = null) {
  if (address !== null) URL.revokeObjectURL(address);
  address = at === null ? URL.createObjectURL(new Blob([html], { type: "text/html" })) : null;
  $("reader-title").textContent = title;
  $("reader-alone").href = at ?? address;
  const frame = element("iframe", { title, sandbox: "allow-same-origin" });
  frame.addEventListener("load", () => frame.contentDocument?.addEventListener("keydown", closeWithEscape));
  frame.srcdoc = asPart(html);
  $("reader-place").replaceChildren(frame);
  $("reader").showModal();
}

function closeWithEscape({ key }) {
  if (key === "Escape") $("reader").close();
}

// The document in the theme of the page. Its links to a place of its own would lead to that place of the page around it.
function asPart(html) {
  const shown = new DOMParser().parseFromString(html, "text/html");
  for (const link of shown.querySelectorAll('a[href^="#"]')) link.setAttribute("href", `about:srcdoc${link.getAttribute("href")}`);
  shown.documentElement.dataset.theme = document.documentElement.dataset.theme;
  return `<!doctype html>${shown.documentElement.outerHTML}`;
}

$("reader-close").addEventListener("click", () => $("reader").close());
$("reader").addEventListener("close", () => $("reader-place").replaceChildren());
