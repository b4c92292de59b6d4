"use strict";
// The page's end of the desk (kaosd/hosted/desk.py): an extension of JupyterLab written as its build would write it,
// a container of modules in window._JUPYTERLAB. It uses what JupyterLab shares and needs no build.
(() => {
  const NAME = "kaosd-desk";
  const HERE = document.currentScript?.src; // beside which the other files of this extension lie
  const PAUSE = 2000; // milliseconds without a key that count as one
  const KNOWN = 3; // contents of a file that are remembered: others than its document may read it too
  const UNKNOWN = 5; // seconds that a save waits until the server knows what is open here
  const LOST = "the connection was lost";
  const AWAY = new Set([undefined, 502, 503, 504]); // answers to a request that no JupyterLab has seen
  let sharedModules;

  // The copy of a module that JupyterLab itself uses.
  async function shared(name) {
    const copies = Object.values(sharedModules[name]);
    const copy = copies.find((one) => one.loaded) ?? copies[0];
    return (await copy.get())();
  }

  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  // What can be iterated over, also by the iterators of JupyterLab 3, whose next() is the item itself.
  function listOf(found) {
    if (typeof found[Symbol.iterator] === "function") return [...found];
    const items = [];
    for (let item = found.next(); item !== undefined; item = found.next()) items.push(item);
    return items;
  }

  // -- documents ------------------------------------------------------------------------------------------------

  const kindOf = (model) => (model.sharedModel.cells ? "notebook" : "file");
  const textOf = (model) => (kindOf(model) === "notebook" ? JSON.stringify(model.toJSON()) : model.toString());

  // What an operation (kaosd/hosted/operations.py) does to a shared model.
  const DO = {
    text: (document, start, end, text) => document.updateSource(start, end, text),
    source: (document, cell, start, end, text) => document.cells[cell].updateSource(start, end, text),
    delete: (document, cell) => document.deleteCell(cell),
    insert: (document, cell, content) => document.insertCell(cell, content),
    metadata: (document, cell, value) => document.cells[cell].setMetadata(value),
    outputs: (document, cell, value) => document.cells[cell].setOutputs(value),
    count: (document, cell, value) => (document.cells[cell].execution_count = value),
    attachments: (document, cell, value) => document.cells[cell].setAttachments(value),
    notebook: (document, value) => document.setMetadata(value),
    minor: (document, value) => (document.nbformat_minor = value),
  };

  function carryOut(model, operations) {
    const document = model.sharedModel;
    document.transact(() => {
      for (const [what, ...details] of operations) DO[what](document, ...details);
    });
  }

  class Documents {
    constructor(app, found) {
      this.app = app;
      this.found = found; // called with each context that is new here
      // by context: the last text that is known to be saved. sure: the server has said so; what is noted without that
      // can have keys in it that were still on their way
      this.saved = new WeakMap();
      this.leaving = false; // what the server says is saved may then be less than what is here
    }

    // All contexts: the open documents, each once, however many views it has.
    all() {
      const found = new Set();
      for (const area of ["main", "left", "right"]) {
        for (const widget of listOf(this.app.shell.widgets(area))) {
          const { context } = widget;
          if (context?.path && context.model?.sharedModel) found.add(context);
        }
      }
      for (const context of found) if (!this.saved.has(context)) this.follow(context);
      return [...found];
    }

    at(path) {
      return this.all().find((context) => context.path === path);
    }

    follow(context) {
      const note = () => this.saved.set(context, { text: textOf(context.model), sure: false });
      this.saved.set(context, { text: null, sure: false });
      context.ready.then(note, () => {});
      context.model.stateChanged.connect((_, change) => {
        if (change.name === "dirty" && !change.newValue && context.isReady && !this.leaving) note();
      });
      this.found(context);
    }
  }

  // -- files ----------------------------------------------------------------------------------------------------

  // What this page read from its files and saved to them last. JupyterLab itself remembers only digests of that.
  class Files {
    constructor(contents) {
      this.known = new Map(); // by type and path: contents by digest, those of the latest KNOWN
      const { get, save } = contents;
      const sent = new Map(); // by type and path: what was saved, whose digest is asked for next
      contents.get = async (path, options) => {
        const model = await get.call(contents, path, options);
        const file = `${model.type} ${path}`;
        if (model.hash && options?.content !== false) this.note(file, model.hash, model.content);
        else if (model.hash && sent.has(file)) this.note(file, model.hash, sent.get(file));
        if (model.hash) sent.delete(file);
        return model;
      };
      contents.save = async (path, options) => {
        const model = await save.call(contents, path, options);
        sent.set(`${model.type} ${path}`, options.content);
        return model;
      };
    }

    note(file, digest, content) {
      const known = this.known.get(file) ?? new Map();
      known.delete(digest);
      known.set(digest, typeof content === "string" ? content : JSON.stringify(content));
      if (known.size > KNOWN) known.delete(known.keys().next().value);
      this.known.set(file, known);
    }

    // The text that a context was read from or saved to last; undefined when that is not known.
    of({ path, contentsModel }) {
      return this.known.get(`${contentsModel.type} ${path}`)?.get(contentsModel.hash);
    }

    forget({ path, contentsModel }) {
      this.known.delete(`${contentsModel?.type} ${path}`);
    }
  }

  // -- the desk -------------------------------------------------------------------------------------------------

  class Desk {
    constructor(app, notices, address) {
      this.services = app.serviceManager;
      this.files = new Files(this.services.contents);
      this.documents = new Documents(app, (context) => {
        this.mendErrors(context);
        this.mendSaves(context);
      });
      this.notices = notices;
      this.address = address;
      this.sent = new Map(); // by id of an answer: the text that was sent with it
      this.turns = new WeakMap(); // by context: the end of what saves or changes it
      this.page = `${Date.now()}-${Math.random()}`; // names this page when it connects again
      this.questions = 0;
      this.asked = new Map(); // by id of a question of ours: who waits for the answer
      this.first = null; // the hello of the server that this page came from
      this.server = null; // the server that it was last connected to
      this.told = "";
      this.shown = new Map(); // notices by topic
      this.unstarted = new Set(); // sessions whose kernel no server was there to start
      this.pressed = -PAUSE;
      addEventListener("keydown", () => (this.pressed = performance.now()), true);
      app.shell.layoutModified?.connect(() => this.report());
      app.shell.currentChanged?.connect(() => this.report());
    }

    async run() {
      for (;;) {
        if (!(await this.connected())) await this.signIn();
        await pause(0.3);
      }
    }

    // Resolves when the connection has ended, to whether there was one.
    connected() {
      let opened = false;
      return new Promise((closed) => {
        const socket = (this.socket = new WebSocket(this.address));
        socket.onopen = () => {
          opened = true;
          this.told = "";
          this.over("connection");
          this.report();
        };
        socket.onmessage = (event) => this.obey(JSON.parse(event.data)).catch((error) => console.error(NAME, error));
        socket.onclose = () => {
          for (const id of [...this.asked.keys()]) this.answered({ id, error: LOST });
          closed(opened);
        };
      });
    }

    // The cookie of a front that has started again since is worth nothing; any request with the token brings another.
    async signIn() {
      await this.services.contents.get("", { content: false }).catch(() => {});
    }

    send(message) {
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
    }

    report() {
      const open = this.documents.all().map((context) => context.path).sort();
      if (JSON.stringify(open) === this.told || this.socket?.readyState !== WebSocket.OPEN) return;
      this.told = JSON.stringify(open);
      this.send({ open, page: this.page });
    }

    async obey(message) {
      if (message.do === "hello") await this.greeted(message);
      else if (message.do === "leaving") this.leaving(message);
      else if (message.do === "left") this.left(message);
      else if (message.do === "held") this.held(message);
      else if (message.do === "brought" || message.do === "merged") this.answered(message);
      else this.send({ id: message.id, ...(await this.answer(message)) });
    }

    async greeted(message) {
      const again = this.server !== null;
      await this.hello(message);
      if (again) await this.catchUpAll();
    }

    async answer({ do: what, id, path, of, operations, over }) {
      const context = this.documents.at(path);
      if (!context) return { gone: true };
      await context.ready;
      if (context.contentsModel?.format === "base64") return { gone: true };
      const apply = async () => {
        if (this.sent.get(of) !== textOf(context.model)) return false;
        carryOut(context.model, operations);
        if (over) await this.renew(context);
        return true;
      };
      try {
        if (what !== "apply" || !(await this.inTurn(context, apply))) {
          const text = textOf(context.model);
          this.sent.clear();
          this.sent.set(id, text);
          return { kind: kindOf(context.model), text, at: context.contentsModel?.last_modified };
        }
      } catch (error) {
        return { error: String(error) };
      }
      this.over(`held ${path}`);
      return { saved: await this.save(context) };
    }

    // Do what saves or changes a document one after the other. A save of JupyterLab's takes the text before it looks at
    // the file: over what is brought to the document meanwhile it would save that, and not ask.
    inTurn(context, act) {
      const turn = (this.turns.get(context) ?? Promise.resolve()).then(act);
      this.turns.set(context, turn.catch(() => {}));
      return turn;
    }

    // JupyterLab asks with a dialog before it saves over what another tab has saved. Here that is in the text already.
    async renew(context) {
      context._updateContentsModel?.(await this.services.contents.get(context.path, { content: false, hash: true }));
    }

    async save(context) {
      try {
        await context.save();
        return true;
      } catch (error) {
        console.error(NAME, error);
        return false;
      }
    }

    // -- what JupyterLab saves -----------------------------------------------------------------------------------

    // Of a page that saves its documents itself. When another page, or a program, has saved in between, JupyterLab asks
    // whether to lose that or what is here; here it asks only where both changed the same place. What is typed while a
    // document is on its way to the disk is no more taken for saved. And a save waits while the server cannot know what is
    // open here: it would write a change to the file meanwhile, perhaps between JupyterLab's look at that and its save.
    mendSaves(context) {
      if (context.model.collaborative) return;
      const save = context.save.bind(context);
      let next; // the save that has not begun, and will take the text as it is then
      const begin = () => {
        next = undefined;
        return save();
      };
      context.save = async () => {
        if (this.server !== null) await this.reconnected(UNKNOWN);
        return (next ??= this.inTurn(context, begin));
      };
      const question = context._raiseConflict?.bind(context);
      context._raiseConflict = async (file, options) =>
        (await this.catchUp(context)) ? context._maybeSave(context._createSaveOptions()) : question(file, options);
      let changed = false;
      context.model.contentChanged.connect(() => (changed = true));
      context.saveState.connect((_, state) => {
        if (state === "completed" && changed) context.model.dirty = true;
        changed = false;
      });
      context.disposed.connect(() => this.files.forget(context));
    }

    // Bring to the open documents what was written to the disk while this page was not connected, when the server could not know
    // that they are open.
    async catchUpAll() {
      for (const context of this.documents.all()) {
        if (!context.isReady || context.model.collaborative || context.model.readOnly) continue;
        await this.bringMissed(context).catch((error) => console.error(NAME, error)); // its file may have gone
      }
    }

    async bringMissed(context) {
      const brought = await this.inTurn(context, async () => {
        const { hash } = await this.services.contents.get(context.path, { content: false, hash: true });
        const missed = hash && context.contentsModel?.hash && hash !== context.contentsModel.hash;
        return missed && (await this.catchUp(context));
      });
      if (brought) await this.save(context);
    }

    // Bring what is on disk to a document; whether that could be done.
    async catchUp(context) {
      const base = this.files.of(context);
      const { type, format } = context.contentsModel;
      if (base === undefined || format === "base64") return false;
      for (;;) {
        const file = await this.services.contents.get(context.path, { type, format, content: true, hash: true });
        const incoming = typeof file.content === "string" ? file.content : JSON.stringify(file.content);
        const live = textOf(context.model);
        const { operations, error } = await this.ask({ merge: kindOf(context.model), base, live, incoming });
        if (error === LOST) {
          await this.reconnected();
          continue;
        }
        if (!operations) return false;
        if (textOf(context.model) !== live) continue; // typed meanwhile
        carryOut(context.model, operations);
        context._updateContentsModel(file);
        return true;
      }
    }

    // The front lets a page's requests through a little before it takes its sockets again.
    async reconnected(seconds = Infinity) {
      const until = performance.now() + 1000 * seconds;
      while (this.socket?.readyState !== WebSocket.OPEN && performance.now() < until) await pause(0.1);
    }

    // Resolves to the server's answer, or to {error}.
    ask(message) {
      const id = ++this.questions;
      return new Promise((done) => {
        this.asked.set(id, done);
        this.send({ ...message, id });
        if (this.socket?.readyState !== WebSocket.OPEN) this.answered({ id, error: LOST });
      });
    }

    // -- what JupyterLab asks while its server is away -----------------------------------------------------------

    // A dialog would take the keys of a person who types, and they would be nowhere.
    connectionLost(error) {
      console.warn(NAME, error);
      const text = "JupyterLab's server does not answer; it is tried again. What you type stays in this tab until then.";
      const connected = this.socket?.readyState === WebSocket.OPEN;
      this.notice(text, "warning", connected ? 8000 : false, "connection");
    }

    mendErrors(context) {
      const { sessionContext } = context;
      const mend = (where, what, told, also = () => {}) => {
        const ask = where?.[what]?.bind(where);
        if (!ask) return;
        where[what] = async (error, ...more) => {
          if (!AWAY.has(error.response?.status)) return ask(error, ...more);
          console.warn(NAME, ...more, error);
          also();
          this.notice(`${told}: the server does not answer.`, "warning", 8000, `${what} ${context.path}`);
        };
      };
      mend(context, "_handleError", `${context.path} is not saved yet`);
      mend(sessionContext, "_handleSessionError", `The kernel of ${context.path} is not started`, () =>
        this.unstarted.add(sessionContext)
      );
      const dialogs = context._dialogs; // which also serve a person who asks for another kernel
      if (dialogs?.selectKernel) {
        context._dialogs = Object.assign(Object.create(dialogs), {
          selectKernel: async (session, ...more) => {
            if (!this.unstarted.has(session)) await dialogs.selectKernel(session, ...more);
          },
        });
      }
      context.saveState.connect((_, state) => {
        if (state === "completed") this.over(`_handleError ${context.path}`);
      });
    }

    // -- what happens to the server -----------------------------------------------------------------------------

    leaving({ why }) {
      this.documents.leaving = true;
      const text = why || "JupyterLab moves to the new environment. You can keep working.";
      this.notice(text, "in-progress", 10000, "server");
    }

    // What was typed since is not with that server, whatever it took for the last key.
    left({ saved }) {
      for (const [path, text] of Object.entries(saved)) {
        const context = this.documents.at(path);
        if (context) this.documents.saved.set(context, { text, sure: true });
      }
    }

    held({ path, reason }) {
      const text = `${path} has changed on disk. The change waits, and your text is as you left it: ${reason}.`;
      this.notice(text, "warning", false, `held ${path}`);
    }

    async hello(hello) {
      const before = this.server;
      this.server = hello.server;
      this.first ??= hello;
      const anew = hello.expired || (this.first.collaboration && !hello.collaboration);
      if (anew && this.first.server !== hello.server) return this.startAnew();
      this.documents.leaving = false;
      if (before === null || before === hello.server) return this.startKernels(this.unstarted);
      const reload = { label: "Reload", caption: "Load the new JupyterLab", callback: () => location.reload() };
      if (this.first.lab !== hello.lab || this.first.collaboration !== hello.collaboration) {
        this.notice(`JupyterLab is now ${hello.lab}. Reload this tab when it suits you.`, "info", false, "server", [reload]);
      } else {
        this.notice("JupyterLab runs in the new environment now. Its kernels were started again.", "success", 8000, "server");
      }
      await this.startKernels();
    }

    // Kernels end with their server; documents get new ones of the same kind, as do those whose kernel no server was
    // there to start. JupyterLab must have noticed first, because it asks with a dialog when it cannot change a session
    // that there is not any more.
    async startKernels(only) {
      const sessions = new Map();
      for (const { sessionContext } of this.documents.all()) {
        if (only && !only.has(sessionContext)) continue;
        const had = sessionContext?.session?.kernel?.name || sessionContext?.prevKernelName;
        const name = had || (this.unstarted.has(sessionContext) && sessionContext.kernelPreference.name);
        if (name) sessions.set(sessionContext, name);
      }
      if (sessions.size === 0) return;
      await this.services.sessions.refreshRunning();
      for (const [session, name] of sessions) {
        this.unstarted.delete(session);
        if (session.session === null) await session.changeKernel({ name });
      }
    }

    // The new server shares documents in another way than this page: hand over what only this page has, and load
    // the page that belongs to it when the person pauses. Keys pressed while it loads would be taken for commands.
    // Nothing can be typed between the last comparison and the reload.
    async startAnew() {
      if (this.leavingPage) return;
      this.leavingPage = true;
      const text = "JupyterLab is a new one now. This tab loads it as soon as you pause; what you type is saved.";
      this.notice(text, "in-progress", false, "server");
      for (;;) {
        const open = this.documents.all().filter((context) => context.isReady && !context.model.readOnly);
        const left = open.filter((context) => textOf(context.model) !== this.documents.saved.get(context).text);
        const typing = !document.hidden && performance.now() - this.pressed < PAUSE;
        if (left.length === 0 && !typing) {
          for (const context of open) context.model.dirty = false; // or the browser asks whether to leave
          return location.reload();
        }
        for (const context of left) {
          const text = textOf(context.model);
          const error = await this.bring(context, text);
          if (error) {
            this.leavingPage = false;
            return this.notice(`${context.path} could not be handed over: ${error}`, "error", false);
          }
          this.documents.saved.set(context, { text, sure: true });
        }
        await pause(0.2);
      }
    }

    // Resolves to what went wrong, or null.
    async bring(context, text) {
      const { text: base, sure } = this.documents.saved.get(context);
      const { error } = await this.ask({ bring: context.path, kind: kindOf(context.model), base, sure, text });
      return error;
    }

    answered(answer) {
      this.asked.get(answer.id)?.(answer);
      this.asked.delete(answer.id);
    }

    // A short word in JupyterLab's corner for notices. topic: what it is about; it is told once, until it is over.
    notice(text, type, autoClose, topic = text, actions = []) {
      if (this.shown.get(topic)?.text === text) return;
      if (!this.notices?.emit) return console.warn(NAME, text);
      this.over(topic);
      this.shown.set(topic, { text, id: this.notices.emit(text, type, { autoClose, actions }) });
    }

    over(topic) {
      const earlier = this.shown.get(topic);
      if (earlier) this.notices.manager.dismiss(earlier.id);
      this.shown.delete(topic);
    }
  }

  let desk;

  // The address of this JupyterLab.
  function baseOf() {
    return new URL(JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl, location.href);
  }

  async function activate(app) {
    const { Notification } = await shared("@jupyterlab/apputils").catch(() => ({}));
    const address = new URL("kaosd/desk", baseOf());
    address.protocol = address.protocol.replace("http", "ws");
    desk = new Desk(app, Notification, address.href);
    void app.restored.then(() => desk.run()); // not awaited here: what is restored waits for this
    // What shows notices is loaded with the first one, which may be that the server is away.
    if (sharedModules["react-toastify"]) void app.restored.then(() => shared("react-toastify"));
  }

  // What the page shows of kaosd (start.js), with those of JupyterLab's services that are there. Nothing of it is
  // waited for, and where it cannot be, documents are changed and saved as ever.
  async function shown() {
    const tokens = {};
    for (const [name, module] of Object.entries({ IStatusBar: "statusbar", ICommandPalette: "apputils" })) {
      const found = await shared(`@jupyterlab/${module}`).catch(() => undefined);
      if (found?.[name]) tokens[name] = found[name];
    }
    const show = async (app, given) => {
      await app.restored;
      const { start } = await import(new URL("start.js", HERE).href);
      const names = Object.keys(tokens);
      await start(app, { shared, listOf }, Object.fromEntries(names.map((name, place) => [name, given[place]])), baseOf());
    };
    const activate = (app, ...given) => void show(app, given).catch((error) => console.warn(NAME, error));
    return { id: `${NAME}:shown`, autoStart: true, optional: Object.values(tokens), activate };
  }

  // In the place of the one of JupyterLab, which kaosd/hosted/settings.py turns off.
  async function plugins() {
    const { IConnectionLost } = await shared("@jupyterlab/application");
    const lost = async (_, error) => desk?.connectionLost(error);
    return [
      { id: `${NAME}:plugin`, autoStart: true, activate },
      { id: `${NAME}:connection-lost`, autoStart: true, provides: IConnectionLost, activate: () => lost },
      await shown(),
    ];
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: (modules) => void (sharedModules = modules),
    get: async () => {
      const found = await plugins();
      return () => ({ __esModule: true, default: found });
    },
  };
})();
