// Elements of the page, made in one expression.

/** An element with properties (`class` and other attributes among them) and children, each an element or text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A part that scrolls on its own, which a keyboard can reach. */
export const scrolling = (label, content) =>
  element("div", { className: "scrolling", tabIndex: 0, role: "region", ariaLabel: label }, content);

/** Names with what they stand for. */
export const facts = (pairs) =>
  element("dl", { className: "facts" }, ...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));

/** A table with a head; the first cell of each row is its heading. */
export function grid(className, names, rows) {
  const head = element("thead", {}, element("tr", {}, ...names.map((name) => (name === "" ? element("td") : element("th", { scope: "col" }, name)))));
  const body = element("tbody", {}, ...rows.map(([name, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, cell)))));
  return element("table", { className }, head, body);
}
