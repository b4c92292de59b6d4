// One file in two versions, drawn as the daemon compares them (kaosd/notebook/diffs.py).
import { element } from "./elements.js";
import { bytes } from "./words.js";

const KINDS = { "+": "added", "-": "removed" };
const UNSHOWN = {
  binary: "It is not a text.",
  large: "It is too large to be compared.",
  unreadable: "It cannot be read.",
};

const quiet = (text) => element("p", { class: "kaosd-quiet" }, text);

function lines(hunks, label) {
  const drawn = hunks.flatMap((hunk, number) => [
    number > 0 && element("span", { class: "kaosd-hunk" }, "⋯"),
    hunk.lines.map((line) => element("span", { class: KINDS[line[0]] && `kaosd-${KINDS[line[0]]}` }, line || " ")),
  ]);
  return element("pre", { class: "kaosd-log kaosd-diff", tabindex: 0, "aria-label": label }, drawn);
}

function cell(one) {
  const place = one.number === null ? `Cell ${one.was}` : `Cell ${one.number}`;
  const words = [one.kind, one.outputs, one.metadata?.length && `metadata: ${one.metadata.join(", ")}`];
  const title = `${place}: ${words.filter(Boolean).join(", ")}`;
  return [quiet(title), one.hunks.length > 0 && lines(one.hunks, title)];
}

export function difference(file) {
  const label = `Differences of ${file.path}`;
  const parts = [];
  if (file.mode) parts.push(quiet(`The file was ${file.mode}.`));
  if (file.form === "notebook") {
    parts.push(file.cells.map(cell));
    if (file.metadata.length) parts.push(quiet(`Metadata of the notebook: ${file.metadata.join(", ")}`));
    if (file.cells.length + file.metadata.length === 0) parts.push(quiet("No cell differs."));
  } else if (file.hunks) {
    parts.push(file.hunks.length ? lines(file.hunks, label) : quiet("The content is the same."));
  } else {
    const sizes = [file.size_before, file.size].map((size) => (size == null ? "not there" : bytes(size))).join(" → ");
    parts.push(quiet(`${file.why ?? UNSHOWN[file.form] ?? ""} ${sizes}`));
  }
  return element("div", { class: "kaosd-differences" }, parts);
}
