// Tables made of text only: names of servers and folders are never parsed as markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const classOf = (text) => (text === "wraps" ? "text wraps" : text ? "text" : "");

// columns: [heading, cell of a row (text or element), whether it is text; "wraps" where it is long]. The first is the
// row's name.
export function fill(table, columns, rows, isOn = () => false) {
  const head = element("tr", {}, ...columns.map(([heading, , text]) => element("th", { scope: "col", class: classOf(text) }, heading)));
  const body = rows.map((row) =>
    element("tr", { class: isOn(row) ? "on" : "" }, ...columns.map(([, cell, text], i) =>
      element(i ? "td" : "th", i ? { class: classOf(text) } : { scope: "row" }, cell(row)))));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}

// A message, one line for each of its lines; indented lines are code, such as a condition with a mark at its error.
export function showLines(place, message) {
  if (place.dataset.shown === message) return;
  place.dataset.shown = message;
  place.replaceChildren(...message.split("\n").map((line) => element("div", { class: /^\s/.test(line) ? "code" : "" }, line)));
}
