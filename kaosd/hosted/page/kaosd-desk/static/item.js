// The item in the status bar: the notebook's tone and summary.
import { element, sign } from "./elements.js";
import { digest } from "./words.js";

// What stands in the item for a notebook's object.
export function itemText(object) {
  const edited = object.edits ? object.edits.edited + object.edits.new + object.edits.deleted : 0;
  const version = object.state === "live" ? digest(object.source.live) : "";
  return [object.summary, version, edited ? `edited here: ${edited}` : ""].filter(Boolean).join(" · ");
}

export class Item {
  constructor(show) {
    this.text = element("span", { class: "kaosd-item-text" });
    this.sign = sign("off");
    this.node = element("button", { type: "button", class: "kaosd-item", click: show }, this.sign, this.text);
    this.draw("off", "kaosd");
  }

  update(object) {
    this.draw(object.tone, itemText(object));
  }

  lost() {
    this.draw("off", "kaosd does not answer");
  }

  draw(tone, text) {
    const drawn = sign(tone);
    this.sign.replaceWith(drawn);
    this.sign = drawn;
    this.node.dataset.tone = tone;
    this.text.textContent = text;
    this.node.title = `${text}\nShow what kaosd does with this notebook`;
    this.node.setAttribute("aria-label", `kaosd: ${text}`);
  }
}
