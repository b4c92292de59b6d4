// Elements of the page, made without HTML: whatever a notebook, a file or a log contains stays text.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// An element; a function among the attributes listens to the event of its name.
export const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const drawing = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Replace the content of a node, and leave the focus and the scrolled logs where they were. key: see data-key.
export function redraw(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused !== undefined) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// A coloured point, with a shape of its own for those who do not see colours.
export function sign(tone) {
  const shapes = {
    ok: [drawing("circle", { cx: 6, cy: 6, r: 4 })],
    busy: [drawing("circle", { cx: 6, cy: 6, r: 4, class: "kaosd-ring" })],
    warn: [drawing("path", { d: "M6 1.5 11 10.5H1Z" })],
    bad: [drawing("path", { d: "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5", class: "kaosd-cross" })],
    off: [drawing("circle", { cx: 6, cy: 6, r: 3.5, class: "kaosd-hollow" })],
  };
  const size = { viewBox: "0 0 12 12", width: 12, height: 12 };
  const look = { class: "kaosd-sign", "data-tone": tone, "aria-hidden": "true" };
  return drawing("svg", { ...size, ...look }, shapes[tone] ?? shapes.off);
}
