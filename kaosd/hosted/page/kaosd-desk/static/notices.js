// The notebook's notices, shown by JupyterLab: each from when its cause begins until that is over.
import { attempt } from "./lab.js";
import { capital, countdown, since } from "./words.js";

const TYPES = { ok: "success", busy: "in-progress", warn: "warning", bad: "error" };
const TICK = 1000; // milliseconds between two looks at the clock
const ACTIONS = 4; // buttons of one notice

export class Notices {
  // shown: opens a section of the panel
  constructor(notification, daemon, lab, show) {
    this.notification = notification;
    this.daemon = daemon;
    this.lab = lab;
    this.show = show;
    this.shown = new Map(); // by the id of a notice: {id: JupyterLab's, drawn: what is shown, notice, hidden}
    this.key = `kaosd dismissed ${daemon.base.pathname}`;
    const changed = (_, { type, notification: one }) => type === "removed" && this.dismissed(one.id);
    notification.manager.changed.connect(changed);
    lab.whenHidden((id) => this.dismissed(id, true));
    setInterval(() => this.tick(), TICK);
  }

  update({ notices = [] }) {
    const causes = new Set(notices.map((notice) => notice.id));
    for (const [id, one] of this.shown) if (!causes.has(id)) this.over(id, one);
    const gone = this.gone();
    for (const notice of notices) {
      if (gone[notice.id] !== notice.since) this.put(notice);
    }
    this.remember(Object.fromEntries(Object.entries(gone).filter(([id]) => causes.has(id))));
  }

  // kaosd does not answer, which the item says: until it does, each notice stays as it is.
  lost() {}

  over(id, one) {
    this.shown.delete(id);
    this.notification.dismiss(one.id);
  }

  put(notice) {
    const left = notice.until ? -since(notice.until) : null;
    const text = left === null ? notice.text : `${notice.text} ${left > 0 ? `${countdown(left)} left.` : "Now."}`;
    const kernels = this.lab.kernels();
    const actions = notice.actions.flatMap((action) => this.buttons(action, kernels)).slice(0, ACTIONS);
    const drawn = JSON.stringify([text, notice.tone, actions.map((one) => one.label)]);
    const before = this.shown.get(notice.id);
    if (before?.drawn === drawn || before?.hidden === notice.since) return;
    const type = TYPES[notice.tone] ?? "info";
    const id = before?.id ?? this.notification.emit(text, type, { autoClose: false, actions });
    if (before) this.notification.update({ id, message: text, type, autoClose: false, actions });
    this.shown.set(notice.id, { id, drawn, notice });
  }

  // What a notice offers: kaosd does what has an action, this page the rest.
  buttons({ label, command, action, page }, kernels) {
    if (action) return [this.button(label, command, () => this.daemon.post(action.verb, action.body))];
    const section = page?.copy ? "copies" : page?.section;
    const key = page?.copy && `since ${page.copy}`;
    if (section) return [this.button(label, "Show it in the panel of kaosd", () => this.show(section, key))];
    const outdated = (page?.kernels ?? []).map((id) => kernels.get(id)).filter(Boolean);
    const one = outdated.length === 1;
    return outdated.map(({ path, restart }) => this.button(one ? label : `${label} of ${path}`, path, restart));
  }

  button(label, caption, does) {
    const callback = async (event) => {
      event.preventDefault(); // it is shown until its cause is over
      try {
        await does();
      } catch (error) {
        this.notification.emit(error.message, "error", { autoClose: 8000 });
      }
    };
    return { label: capital(label), caption: caption || label, callback };
  }

  // A time that runs down, and kernels that come and go.
  tick() {
    for (const { notice } of this.shown.values()) void attempt("notices", () => this.put(notice));
  }

  // -- what a person has dismissed: not shown again until its cause is another one, in other tabs neither ------------

  // hidden: it is still in JupyterLab's list
  dismissed(id, hidden = false) {
    for (const [ours, one] of this.shown) {
      if (one.id !== id) continue;
      if (hidden) one.hidden = one.notice.since;
      else this.shown.delete(ours);
      this.remember({ ...this.gone(), [ours]: one.notice.since });
    }
  }

  gone() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  }

  remember(gone) {
    const text = JSON.stringify(gone);
    try {
      if (localStorage.getItem(this.key) !== text) localStorage.setItem(this.key, text);
    } catch {
      // no storage in this browser: a notice that was dismissed comes again with the next page
    }
  }
}
