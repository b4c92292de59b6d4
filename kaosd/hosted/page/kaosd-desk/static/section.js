// One section of the panel: it is asked for and drawn again only while it is open and what it shows has changed.
import { element, redraw } from "./elements.js";

export class Section {
  // what: {key, title, open: from the start, shown(object), count(object), stamp(object): what it depends on,
  // load(daemon, object): what it has to ask for, draw(panel, object, loaded)}
  constructor(panel, what) {
    this.panel = panel;
    this.what = what;
    this.stamp = null; // of what is drawn
    this.badge = element("span", { class: "kaosd-badge" });
    this.body = element("div", { class: "kaosd-body" });
    const summary = element("summary", {}, element("h3", {}, what.title), this.badge);
    const own = { class: "kaosd-section", "data-section": what.key, toggle: () => this.refresh() };
    this.node = element("details", own, summary, this.body);
    this.node.open = what.open ?? false;
    this.node.hidden = true;
  }

  update(object) {
    const { shown, count } = this.what;
    this.node.hidden = shown ? !shown(object) : false;
    const text = String(count?.(object) || "");
    if (this.badge.textContent !== text) this.badge.textContent = text;
    this.refresh();
  }

  // Open it, with the focus on its title, or on the button *key*, which is pressed.
  async reveal(key) {
    this.node.hidden = false;
    this.node.open = true;
    await this.refresh(true);
    const button = key && this.body.querySelector(`[data-key="${CSS.escape(key)}"]`);
    this.node.scrollIntoView({ block: "start" });
    (button ?? this.node.querySelector("summary")).focus();
    if (button && button.getAttribute("aria-expanded") !== "true") button.click();
  }

  // Draw what has changed. Resolves when it is drawn.
  async refresh(again = false) {
    const { object } = this.panel;
    if (!object || !this.node.open || this.node.hidden) return;
    const stamp = JSON.stringify(this.what.stamp(object));
    if (stamp === this.stamp && !again) return;
    this.stamp = stamp;
    try {
      const loaded = await this.what.load?.(this.panel.daemon, object);
      if (stamp !== this.stamp) return; // a newer one is on its way
      redraw(this.body, this.what.draw(this.panel, this.panel.object, loaded, this));
    } catch (error) {
      this.stamp = null; // tried again with the next object
      redraw(this.body, element("p", { class: "kaosd-failure" }, error.message));
    }
    this.panel.tick();
  }
}
