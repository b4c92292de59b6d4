// The panel: all that kaosd knows of this notebook, and what can be done about it here.
import { element, redraw, sign } from "./elements.js";
import { SECTIONS, chooseLog } from "./sections.js";
import { Section } from "./section.js";
import { capital, countdown, duration, since } from "./words.js";

const TICK = 1000; // milliseconds between two looks at the clock

export class Panel {
  constructor(daemon, lab) {
    this.daemon = daemon;
    this.lab = lab;
    this.object = null;
    this.show = null; // how JupyterLab brings the panel to the front
    this.sections = new Map(SECTIONS.map((what) => [what.key, new Section(this, what)]));
    this.head = element("div", { class: "kaosd-head" });
    this.said = element("p", { class: "kaosd-said", role: "status", "aria-live": "polite" });
    this.failure = element("p", { class: "kaosd-failure", role: "alert", hidden: true });
    const sections = [...this.sections.values()].map((section) => section.node);
    const content = { class: "kaosd-content", tabindex: -1, "aria-label": "kaosd", role: "region" };
    this.content = element("div", content, this.head, this.said, this.failure, sections);
    this.node = element("div", { class: "kaosd-panel" }, this.content);
    setInterval(() => this.tick(), TICK);
  }

  // Bring the panel to the front, with the focus in it. section: the key of one that is opened; key: of a button in
  // it that is pressed.
  open(section, key) {
    this.show?.();
    const found = this.sections.get(section);
    if (found) void found.reveal(key);
    else requestAnimationFrame(() => this.content.focus({ preventScroll: true }));
  }

  // Show the log of a stage.
  async openLog(stage) {
    chooseLog(stage);
    this.open("logs");
    await this.sections.get("logs").refresh(true);
  }

  update(object) {
    this.object = object;
    this.drawHead();
    const said = `${object.state}: ${object.reason ?? ""}`;
    if (said !== this.stated) this.said.textContent = object.summary; // a time that runs down is not read aloud
    this.stated = said;
    for (const section of this.sections.values()) section.update(object);
    this.tick();
  }

  lost() {
    if (!this.object || this.stated === "lost") return;
    this.stated = "lost";
    this.said.textContent = "kaosd does not answer. What is shown here may be out of date.";
    redraw(this.head, this.heading("off", "kaosd does not answer"));
  }

  heading(tone, summary) {
    const name = element("h2", {}, this.object.name);
    return element("div", { class: "kaosd-title" }, sign(tone), name, element("p", {}, summary));
  }

  drawHead() {
    const { tone, summary, next = [], swap } = this.object;
    const parts = [this.heading(tone, summary)];
    if (swap) parts.push(element("p", { class: "kaosd-note" }, swap.why, swap.until && [" ", this.left(swap.until)]));
    const steps = next.filter(({ action }) => action); // what the others show, the sections show as well
    const buttons = steps.map(({ label, command, action }) =>
      this.button(capital(label), label, () => this.daemon.post(action.verb, action.body), { title: command }));
    if (buttons.length > 0) parts.push(element("div", { class: "kaosd-steps" }, buttons));
    redraw(this.head, parts);
  }

  // A button that does something, and says why when that could not be done.
  button(label, key, does, attributes = {}) {
    const press = async () => {
      if (node.getAttribute("aria-disabled")) return;
      node.setAttribute("aria-disabled", "true"); // a disabled one would lose the focus
      this.failure.hidden = true;
      try {
        await does();
      } catch (error) {
        this.failure.textContent = error.message;
        this.failure.hidden = false;
        this.failure.scrollIntoView({ block: "nearest" });
      } finally {
        node.removeAttribute("aria-disabled");
      }
    };
    const own = { type: "button", class: "kaosd-button", "data-key": key, click: press };
    const node = element("button", { ...own, ...attributes }, label);
    return node;
  }

  left(until) {
    return element("time", { "data-until": until, datetime: until, "aria-live": "off" });
  }

  tick() {
    for (const node of this.node.querySelectorAll("[data-until]")) {
      const left = -since(node.dataset.until);
      node.textContent = left > 0 ? `${countdown(left)} left` : "now";
    }
    for (const node of this.node.querySelectorAll("[data-since]")) {
      node.textContent = duration(since(node.dataset.since));
    }
  }
}
