// What the parts of the page take from JupyterLab, each interface in a function of its own that throws where
// JupyterLab is not as it was tested: then that part is absent, and the others work.
const NAME = "kaosd-desk";
const SHOW = "kaosd:show";
const PANEL = "kaosd-panel";
const NARROW = 760; // pixels of a window
// A k in a ring.
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><path class="jp-icon3" fill="#616161" ' +
  'fill-rule="evenodd" d="M12 1.5a10.5 10.5 0 1 0 0 21 10.5 10.5 0 0 0 0-21zm0 2a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z' +
  'M8.2 6.5v11h2v-3l1.3-1.3 3 4.3h2.4l-4-5.7 3.8-3.8h-2.6l-3.9 4v-5.5z"/></svg>';

// What *make* resolves to; null, and a line in the browser's log, when JupyterLab lacks what it needs.
export async function attempt(what, make) {
  try {
    return await make();
  } catch (error) {
    console.warn(`${NAME}: without ${what}, since this JupyterLab is another one than it was tested with`, error);
    return null;
  }
}

export class Lab {
  // shared: gives the copy of a module that JupyterLab itself uses. listOf: makes a list of its iterators.
  // services: by the name of their token; null: absent.
  constructor(app, { shared, listOf }, services) {
    this.app = app;
    this.shared = shared;
    this.listOf = listOf;
    this.services = services;
  }

  get token() {
    return this.app.serviceManager?.serverSettings?.token ?? "";
  }

  async #widget(node, id) {
    const { Widget } = await this.shared("@lumino/widgets");
    const widget = new Widget({ node });
    widget.id = id;
    return widget;
  }

  async addStatusItem(node) {
    const item = await this.#widget(node, "kaosd-item");
    const place = { align: "left", rank: 100, priority: 1 }; // priority: it is shown in a narrow window as well
    this.services.IStatusBar.registerStatusItem("kaosd:summary", { item, ...place, isActive: () => true });
  }

  // A panel at the right, and a command that shows it; the function that shows it.
  async addPanel(node) {
    const panel = await this.#widget(node, PANEL);
    panel.title.caption = "kaosd";
    await attempt("its icon", async () => {
      const { LabIcon } = await this.shared("@jupyterlab/ui-components");
      panel.title.icon = new LabIcon({ name: "kaosd:icon", svgstr: ICON });
    });
    if (!panel.title.icon) panel.title.label = "kaosd";
    this.app.shell.add(panel, "right", { rank: 1000 });
    const show = () => {
      if (innerWidth < NARROW) this.app.shell.collapseLeft?.(); // there is no room for both
      this.app.shell.activateById(PANEL);
    };
    await attempt("the panel of the page before", () => {
      if (sessionStorage.getItem(PANEL)) this.app.shell.activateById(PANEL);
      addEventListener("pagehide", () => sessionStorage.setItem(PANEL, panel.isVisible ? "open" : ""));
    });
    await attempt("its command", () => {
      this.app.commands.addCommand(SHOW, { label: "Show kaosd: versions, edits, history, logs", execute: show });
      this.services.ICommandPalette?.addItem({ command: SHOW, category: "kaosd" });
    });
    return show;
  }

  // JupyterLab's own notices.
  async notices() {
    const { Notification } = await this.shared("@jupyterlab/apputils");
    for (const what of ["emit", "update", "dismiss"]) {
      if (typeof Notification?.[what] !== "function") throw new Error(`Notification.${what} is not there`);
    }
    if (!Notification.manager?.changed?.connect) throw new Error("Notification.manager.changed is not there");
    return Notification;
  }

  // Call *hidden* with the id of each notice that a person closes; JupyterLab keeps it in its list and tells nobody.
  whenHidden(hidden) {
    const look = ({ target }) => {
      const toast = target.closest?.(".jp-Notification-Toast-Close")?.closest(".Toastify__toast");
      if (toast?.id) hidden(toast.id);
    };
    document.addEventListener("click", look, true);
  }

  // The notebook documents that are open and have a kernel: its id, and how it is restarted.
  kernels() {
    const found = new Map();
    for (const { context, sessionContext = context?.sessionContext } of this.listOf(this.app.shell.widgets("main"))) {
      const kernel = sessionContext?.session?.kernel;
      if (kernel) found.set(kernel.id, { path: sessionContext.path, restart: () => kernel.restart() });
    }
    return found;
  }

  openFile(path) {
    return this.app.commands.execute("docmanager:open", { path });
  }
}

// The window's title starts with the notebook's name, whatever JupyterLab makes of the rest.
export function nameWindow(name) {
  const title = document.querySelector("head > title");
  if (!title) throw new Error("the page has no title");
  const put = () => {
    if (!document.title.startsWith(`${name} - `)) document.title = `${name} - ${document.title}`;
  };
  new MutationObserver(put).observe(title, { childList: true, characterData: true, subtree: true });
  put();
}
