"use strict";
// The console: draws the daemon's own answers, and asks for its own actions. Text only ever becomes text nodes.

const OWN = "/kaosd";
const app = document.getElementById("app");
const sheet = document.getElementById("sheet");
const inside = document.getElementById("inside");
const question = document.getElementById("question");
const said = document.getElementById("said");
const state = { notebooks: [], daemon: null, arrived: false, lost: false, filter: "" };
const open = { name: "", tab: "overview", hash: "", data: null, find: "", stage: "", deploy: "", follow: true, diff: null, stop: () => {} };

// -- building and bringing up to date ------------------------------------------------------------------------

const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const plain = (text) => String(text).replace(ODD, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {}))
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  for (const child of children.flat(3))
    if (child instanceof Node) made.append(child);
    else if (child !== undefined && child !== null && child !== false && child !== "") made.append(plain(child));
  return made;
}

// Makes what stands there like what was built, and keeps what is the same: focus, scrolling and typing stay.
function become(there, built) {
  if (there.nodeType === Node.TEXT_NODE) {
    if (there.data !== built.data) there.data = built.data;
    return;
  }
  for (const { name } of [...there.attributes]) if (!built.hasAttribute(name)) there.removeAttribute(name);
  for (const { name, value } of built.attributes) if (there.getAttribute(name) !== value) there.setAttribute(name, value);
  const keyed = new Map([...there.children].filter((one) => one.dataset.key).map((one) => [one.dataset.key, one]));
  let at = there.firstChild;
  for (const next of [...built.childNodes]) {
    const key = next.dataset?.key;
    const same = key ? keyed.get(key) : at?.dataset?.key ? null : at;
    if (!same || same.nodeName !== next.nodeName) {
      there.insertBefore(next, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else there.insertBefore(same, at);
    become(same, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function redraw(place, ...children) {
  const focused = document.activeElement;
  become(place, h(place.nodeName, Object.fromEntries([...place.attributes].map((one) => [one.name, one.value])), children));
  if (focused !== document.activeElement && focused?.isConnected && place.contains(focused)) focused.focus();
}

// -- words ---------------------------------------------------------------------------------------------------

const count = (number, word, words) => `${number} ${number === 1 ? word : (words ?? `${word}s`)}`;

function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return count(Math.floor(seconds / 86400), "day");
}

function exactly(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; number >= 1000 && at < units.length - 1; at++) number /= 1024;
  return `${number < 10 ? Number(number.toFixed(1)) : Math.round(number)} ${units[at]}`;
}

const SUFFIX = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 };
function quantity(text) {
  const found = /^([0-9.]+)([A-Za-z]*)$/.exec(text ?? "");
  return found && found[2] in SUFFIX ? Number(found[1]) * SUFFIX[found[2]] : null;
}

const ago = (text) => text && h("time", { datetime: text, "data-age": true, title: new Date(text).toLocaleString() }, duration((Date.now() - Date.parse(text)) / 1000));
const clock = (text) => (text ? h("time", { datetime: text }, new Date(text).toLocaleString()) : "-");
const HEAD = new Set(["redeploy", "pause", "resume", "start", "stop", "restart", "cancel"]); // actions in the sheet's head
const TONES = ["bad", "warn", "busy", "ok"];
const tone = (notebook) => (notebook.state === "stopped" ? "off" : (notebook.tone ?? "ok"));

// -- the list ------------------------------------------------------------------------------------------------

function ordered(notebooks) {
  const rank = (one) => [...TONES, "off"].indexOf(tone(one));
  return [...notebooks].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

const COLOURS = { failed: "bad", held: "warn", building: "busy", swapping: "busy", stale: "busy", live: "ok", stopped: "off" };

function totals() {
  const states = Object.keys(COLOURS).map((word) => [word, state.notebooks.filter((one) => one.state === word).length]);
  const used = state.notebooks.map((one) => one.usage?.memory ?? 0).reduce((a, b) => a + b, 0);
  const kernels = state.notebooks.map((one) => one.host?.kernels ?? 0).reduce((a, b) => a + b, 0);
  return h("p", { class: "totals", "data-key": "totals" },
    states.map(([word, number]) => number > 0 && h("span", { class: `chip ${COLOURS[word]}` }, h("b", {}, number), ` ${word}`)),
    kernels > 0 && h("span", { class: "chip" }, h("b", {}, kernels), kernels === 1 ? " kernel" : " kernels"),
    used > 0 && h("span", { class: "chip" }, h("b", {}, bytes(used)), " memory"));
}

function problems() {
  const found = state.daemon?.problems ?? [];
  return found.length > 0 && h("ul", { class: "problems", "data-key": "problems", "aria-label": "Problems of kaosd" },
    found.map((one) => h("li", { class: one.severity === "error" ? "bad" : "warn" }, h("p", {}, one.text), one.mend && h("p", { class: "quiet" }, one.mend))));
}

function meter(label, used, limit, shown, high = false) {
  const value = limit ? Math.min(1, used / limit) : 0;
  return h("div", { class: "use" }, h("span", { class: "quiet" }, label), h("span", {}, shown),
    limit && h("progress", { max: 1, value: value.toFixed(3), class: high && value > 0.9 ? "high" : null, "aria-label": `${label} of the limit` }));
}

function usage(notebook) {
  const used = notebook.usage;
  const { memory, cpu, gpu } = notebook.resources ?? {};
  if (!used) return [];
  const limit = quantity(memory);
  return [
    used.memory != null && meter("Memory", used.memory, limit, limit ? `${bytes(used.memory)} of ${bytes(limit)}` : bytes(used.memory), true),
    used.cpu != null && meter("CPU", used.cpu, cpu, cpu ? `${used.cpu.toFixed(1)} of ${cpu}` : used.cpu.toFixed(1)),
    used.gpu_memory != null && meter("GPU memory", used.gpu_memory, null, bytes(used.gpu_memory)),
    gpu > 0 && used.gpu_memory == null && meter("GPUs", gpu, null, String(gpu)),
  ];
}

function version(root) {
  const { live, disk } = root ?? {};
  if (!live && !disk) return null;
  if (!live || live === disk) return h("code", {}, disk ?? live);
  return [h("code", {}, live), disk && [" → ", h("code", {}, disk), " on disk"]];
}

function kernels({ host }) {
  if (!host?.kernels) return null;
  return [count(host.kernels, "kernel"), host.busy > 0 && `, ${host.busy} busy`, host.outdated > 0 && `, ${host.outdated} on an older environment`];
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What the person can do next. others: without what stands in the head of the sheet already.
function steps(notebook, others = false) {
  const wanted = ({ action }) => !others || !action || Object.values(action.body ?? {}).some(Boolean) || !HEAD.has(action.verb);
  return offers(notebook, (notebook.next ?? []).filter(wanted));
}

const offers = (notebook, what) => what.map((one, at) =>
  one.action ? act(notebook, one.action.verb, one.action.body ?? {}, capital(one.label), `next-${at}`)
    : one.command && h("span", { class: "advice", "data-key": `next-${at}` }, `${capital(one.label)}: `, h("code", {}, one.command)));

function progress({ progress: now }, brief = false) {
  if (!now) return null;
  const part = now.expected ? Math.min(0.98, (now.seconds ?? 0) / now.expected) : null;
  return h("div", { class: "making", "data-key": "progress" },
    h("progress", { max: 1, value: part?.toFixed(3), "aria-label": "Progress" }),
    h("p", { class: "quiet" }, !brief && [now.step && `Step ${now.step} of ${now.steps}: `, now.text, " · "],
      now.seconds != null && exactly(now.seconds), now.expected && ` of usually ${exactly(now.expected)}`));
}

// The summary; the whole reason instead, where the summary is how that begins.
function told({ state: word, summary, reason }) {
  const brief = summary.replace(/^[a-z]+: /, "").replace(/…$/, "");
  return reason?.startsWith(brief) ? `${word}: ${reason}` : summary;
}

const causes = (deployment) => (deployment?.cause ?? []).map((one) => one.replace(/^\[(.*)\]$/, "$1"));

function row(notebook) {
  const { name } = notebook;
  const cause = causes(notebook.deployment);
  const saved = !notebook.deployment?.cause?.[0]?.startsWith("["); // paths; else what happened, in words
  const bad = tone(notebook) === "bad" || tone(notebook) === "warn";
  return h("li", { class: `notebook ${tone(notebook)}`, "data-key": name },
    h("div", { class: "what" },
      h("h2", {}, h("button", { class: "name", "data-show": name }, name)),
      h("p", { class: `state ${tone(notebook)}` }, bad ? told(notebook) : notebook.summary),
      bad && notebook.reason && !told(notebook).includes(notebook.reason) && h("p", { class: "reason" }, notebook.reason),
      progress(notebook, true),
      h("p", { class: "quiet facts" },
        h("span", {}, version(notebook.source) ?? "no source"), notebook.data?.path && h("span", {}, "data ", version(notebook.data)),
        cause.length > 0 && h("span", {}, saved && "last change ", cause.slice(0, 2).join(", "), cause.length > 2 && ` and ${cause.length - 2} more`),
        h("span", {}, notebook.state, " for ", ago(notebook.since)), kernels(notebook) && h("span", {}, kernels(notebook))),
      bad && h("p", { class: "steps-next" }, steps(notebook))),
    h("div", { class: "uses" }, usage(notebook)),
    h("div", { class: "do" }, openLink(notebook), h("button", { "data-show": name, "aria-label": `Details of ${name}` }, "Details")));
}

const openLink = ({ name }, extra = "") =>
  h("a", { class: "button main", href: `${OWN}/open/${encodeURIComponent(name)}/lab`, target: "_blank", rel: "noopener", id: `lab-${name}${extra}`, "aria-label": `Open ${name}` }, "Open");

const notebookOf = (name) => state.notebooks.find((one) => one.name === name);

function draw() {
  const wanted = state.filter.trim().toLowerCase();
  const shown = ordered(state.notebooks).filter((one) => one.name.toLowerCase().includes(wanted));
  redraw(app,
    h("div", { class: "top", "data-key": "top" }, h("h1", {}, "Notebooks"),
      state.notebooks.length > 5 && h("input", { type: "search", id: "filter", placeholder: "Filter by name", "aria-label": "Filter by name" })),
    state.notebooks.length > 0 && totals(),
    problems(),
    shown.length > 0 && h("ul", { class: "notebooks", "data-key": "list" }, shown.map(row)),
    state.arrived && state.notebooks.length === 0 && h("div", { class: "empty", "data-key": "empty" },
      h("p", {}, "There is no notebook yet. In the directory of a repository run"), h("p", {}, h("code", {}, "kaosctl up"))),
    state.notebooks.length > 0 && shown.length === 0 && h("p", { "data-key": "none" }, "No notebook has this in its name."),
    !state.arrived && h("p", { class: "quiet", "data-key": "wait" }, "Asking kaosd…"),
    h("p", { id: "lost", class: "quiet", role: "status", "data-key": "lost", hidden: !state.lost }, "kaosd does not answer. This page continues by itself when it does."));
  const troubled = state.notebooks.filter((one) => tone(one) === "bad").length;
  document.title = `${troubled ? `(${troubled} failed) ` : ""}Notebooks · kaosd`;
  if (!open.name) return;
  drawSheet();
  const known = open.tab in ONCE && JSON.stringify(notebookOf(open.name)?.[open.tab === "edits" ? "edits" : "environment"]);
  // the counts may have been here, there and here again between two events: what is shown tells too
  const told = open.tab === "edits" && open.data?.counts && known !== "null" ? JSON.stringify(open.data.counts) : known;
  if (known !== open.known || known !== told) {
    if (open.known !== undefined && known) load();
    open.known = known;
  }
}

// -- actions -------------------------------------------------------------------------------------------------

const DONE = {
  redeploy: "is deployed again", pause: "is paused", resume: "follows its directories again", start: "starts", stop: "stops",
  restart: "starts again", cancel: "builds no more", rollback: "goes back", add: "gets the package", restore: "has the copy again",
};

const WORDS = {
  restored: "reset", removed: "removed", write: "written", overwrite: "written, a copy kept", delete: "deleted", same: "already there", unchanged: "unchanged",
  unnamed: "left on disk (delete it by name)", stays: "left in the notebook (reset it by name)",
};

function loss({ host }) {
  if (!host?.kernels) return "It has no running kernel.";
  return `${host.kernels === 1 ? "Its kernel stops" : `Its ${host.kernels} kernels stop`}${host.busy ? ` (${host.busy} busy)` : ""}, and their variables are lost.`;
}

// What an action takes away, as a sentence; nothing for one that takes nothing away.
function consequence(notebook, verb, body) {
  if (verb === "stop") return `JupyterLab of ${notebook.name} stops. ${loss(notebook)} Files and edits stay.`;
  if (verb === "restart" && body.kernels) return `All kernels of ${notebook.name} start again. ${loss(notebook)}`;
  if (verb === "restart") return `JupyterLab of ${notebook.name} starts again. ${loss(notebook)} Files and edits stay.`;
  if (verb === "cancel") return `The build of ${notebook.name} stops. What is served now stays.`;
  if (verb === "rollback") return `${notebook.name} serves ${body.to ? `the version of deployment ${body.to}` : "the version before"} until its files change again. Kernels keep running unless the environment differs.`;
  if (verb === "redeploy" && body.now) return `${notebook.name} does not wait for busy kernels. ${loss(notebook)}`;
  if (verb === "redeploy" && body.force) return `${notebook.name} gets what is on disk now, although many files are gone there. Your own edits stay; where the same file changed or is gone, yours is kept as a copy.`;
  if (verb === "restore") return `${body.path ?? "The newest copy of each file"} comes back into ${notebook.name}. What is there now becomes a copy itself.`;
  if (verb === "reset") return `${(body.paths ?? []).join(", ") || "Every edited file"} of ${notebook.name} becomes what was deployed; one that exists only in the notebook is removed if it is named. The edits are kept as copies.`;
  if (verb === "add") return `${body.packages.join(", ")} is written into the environment file of the source directory of ${notebook.name}, and the environment is built again.`;
  if (verb === "pull") return `${(body.paths ?? []).join(", ") || "Every edited file"} of ${notebook.name} is written into its source directory.`;
  return "";
}

const act = (notebook, verb, body, label, key = verb, kind = "") =>
  h("button", { "data-key": key, "data-verb": verb, "data-name": notebook.name, "data-body": JSON.stringify(body), class: kind || null }, label);

function tell(text, bad = false) {
  said.className = bad ? "bad" : "";
  said.setAttribute("role", bad ? "alert" : "status");
  said.textContent = plain(text);
  clearTimeout(tell.timer);
  if (!bad) tell.timer = setTimeout(() => (said.textContent = ""), 6000);
}

async function ask(path, body) {
  const answer = await fetch(`${OWN}/notebooks/${path}`, body === undefined ? { cache: "no-store" } : {
    method: "POST", headers: { "X-Kaosd": "1", "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${told.detail}${told.hint ? `; ${told.hint}` : ""}`);
  return told;
}

function confirmed(text, label) {
  redraw(question, h("form", { method: "dialog" }, h("p", { id: "asked" }, text),
    h("div", { class: "do" }, h("button", { value: "no" }, "Keep as it is"), h("button", { value: "yes", class: "danger" }, label))));
  question.returnValue = "no";
  question.showModal();
  return new Promise((done) => question.addEventListener("close", () => done(question.returnValue === "yes"), { once: true }));
}

// What was done with files, counted: "2 written, 1 unnamed".
function outcomes(files) {
  const counted = new Map();
  for (const { action } of files) counted.set(action, (counted.get(action) ?? 0) + 1);
  return [...counted].map(([action, number]) => `${count(number, "file")} ${WORDS[action] ?? action}`).join(", ") || "nothing to do";
}

async function perform(button) {
  const { verb, name } = button.dataset;
  const body = JSON.parse(button.dataset.body ?? "{}");
  const notebook = notebookOf(name);
  const text = notebook && consequence(notebook, verb, body);
  if (!notebook || (text && !(await confirmed(text, button.textContent)))) return;
  button.setAttribute("aria-busy", "true");
  tell(`${button.textContent}: ${name}…`);
  try {
    const { files } = await ask(`${encodeURIComponent(name)}/${verb}`, body);
    tell(files ? `${name}: ${outcomes(files)}.` : `${name} ${DONE[verb]}.`);
    if (verb === "pull" || verb === "reset") load();
  } catch (error) {
    tell(`${name}: ${error.message}`, true);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

async function copyAddress(name) {
  try {
    const { url } = await ask(`${encodeURIComponent(name)}/address`, {});
    try {
      await navigator.clipboard.writeText(url);
      tell(`The address of ${name} with its token is in the clipboard.`);
    } catch {
      tell(url);
    }
  } catch (error) {
    tell(error.message, true);
  }
}

// -- the sheet of one notebook -------------------------------------------------------------------------------

const TABS = {
  overview: ["Overview", overview], logs: ["Logs", logs], history: ["History", history],
  edits: ["Edits", edits], copies: ["Copies", copies], packages: ["Packages", packages],
};
const SOURCES = { logs: "logs", history: "history", copies: "recovered" }; // followed; the rest is asked for once
const ONCE = { edits: "edits", packages: "environment" };

function show(name, tab = "overview") {
  const again = open.name === name && open.tab === tab;
  Object.assign(open, { name, tab });
  if (!again) Object.assign(open, { data: null, diff: null, find: "", known: undefined });
  if (tab !== "logs") open.deploy = "";
  open.hash = `#${encodeURIComponent(name)}/${tab}`;
  window.history.replaceState(null, "", open.hash);
  drawSheet();
  sheet.append(said); // what is beside a modal dialog is not read out
  if (!sheet.open) sheet.showModal();
  load();
}

function load() {
  open.stop();
  open.stop = () => {};
  const { name, tab } = open;
  const path = `${encodeURIComponent(name)}/`;
  const arrived = (data) => {
    if (open.name === name && open.tab === tab) {
      open.data = data;
      drawSheet();
    }
  };
  if (tab in SOURCES) {
    const query = tab === "logs" ? `?lines=1000&stage=${open.stage}&deploy=${open.deploy}`.replace(/&\w+=(?=&|$)/g, "") : "";
    open.stop = follow(`${OWN}/notebooks/${path}${SOURCES[tab]}${query}`, arrived, () => arrived({ error: "There is nothing to show." }));
  } else if (tab in ONCE) {
    ask(path + ONCE[tab]).then(arrived, (error) => arrived({ error: error.message }));
  }
}

sheet.addEventListener("close", () => {
  if (sheet.open) return; // opened again meanwhile
  const { name } = open;
  document.body.append(said);
  redraw(inside);
  open.stop();
  Object.assign(open, { name: "", data: null, stop: () => {} });
  if (window.location.hash === open.hash) window.history.replaceState(null, "", window.location.pathname);
  document.querySelector(`[data-show="${CSS.escape(name)}"]`)?.focus();
});

function drawSheet() {
  const notebook = notebookOf(open.name);
  redraw(inside, notebook ? whole(notebook) : [head(open.name), h("p", { class: "panel" }, state.arrived ? "There is no such notebook any more." : "Asking kaosd…")]);
  if (open.tab === "logs" && open.follow) {
    const lines = sheet.querySelector("pre.log");
    if (lines) lines.scrollTop = lines.scrollHeight;
  }
}

const head = (name, ...more) => h("header", { "data-key": "head" },
  h("div", {}, h("h2", { id: "sheet-title" }, name), ...more), h("button", { class: "close", "data-close": true, "aria-label": "Close" }, "✕"));

function whole(notebook) {
  const { name, state: word, paused } = notebook;
  const building = word === "building";
  return [
    head(name, h("p", { class: `state ${tone(notebook)}` }, notebook.summary)),
    h("div", { class: "do", "data-key": "do" }, openLink(notebook, "-sheet"),
      h("button", { "data-copy": name }, "Copy address"),
      building && act(notebook, "cancel", {}, "Cancel build"),
      act(notebook, "redeploy", {}, "Redeploy"),
      paused ? act(notebook, "resume", {}, "Resume") : act(notebook, "pause", {}, "Pause"),
      word === "stopped" ? act(notebook, "start", {}, "Start") : [act(notebook, "restart", {}, "Restart"), act(notebook, "stop", {}, "Stop")]),
    h("div", { role: "tablist", "aria-label": `About ${name}`, "data-key": "tabs" },
      Object.entries(TABS).map(([key, [label]]) => h("button", { role: "tab", id: `tab-${key}`, "data-key": key, "data-tab": key, "aria-selected": String(key === open.tab), "aria-controls": "panel", tabindex: key === open.tab ? 0 : -1 }, label, numbered(notebook, key)))),
    h("div", { class: "panel", id: "panel", role: "tabpanel", "aria-labelledby": `tab-${open.tab}`, tabindex: 0, "data-key": `panel-${open.tab}` }, content(notebook)),
  ];
}

function numbered(notebook, key) {
  const edited = notebook.edits ? notebook.edits.edited + notebook.edits.new + notebook.edits.deleted : 0;
  const number = { edits: edited, copies: notebook.recovered }[key];
  return number ? h("span", { class: "number" }, number) : null;
}

function content(notebook) {
  const draws = TABS[open.tab][1];
  if (open.tab === "overview") return draws(notebook);
  if (open.data === null) return h("p", { class: "quiet" }, "Asking kaosd…");
  if (open.data.error) return h("p", {}, open.data.error);
  return draws(notebook, open.data);
}

const fact = (label, ...value) => value.flat(3).some((one) => one) && [h("dt", {}, label), h("dd", {}, ...value)];

function overview(notebook) {
  const { deployment, host, environment, resources = {} } = notebook;
  const limits = [resources.memory, resources.cpu && `${resources.cpu} CPUs`, resources.gpu > 0 && count(resources.gpu, "GPU")].filter(Boolean);
  return [
    notebook.reason && notebook.reason !== notebook.summary && h("pre", { class: tone(notebook) === "bad" ? "error" : "note" }, notebook.reason),
    progress(notebook),
    h("div", { class: "steps-next" }, steps(notebook, true)),
    (notebook.notices ?? []).map((one) => h("div", { class: `notice ${one.tone}`, "data-key": one.id }, h("p", {}, one.text),
      h("div", { class: "steps-next" }, offers(notebook, one.actions ?? [])))),
    [...(notebook.warnings ?? []), ...(notebook.refused ?? [])].map((text) => h("p", { class: "notice warn" }, text)),
    h("div", { class: "uses wide" }, usage(notebook)),
    h("dl", {},
      fact("State", notebook.state, " for ", ago(notebook.since)),
      fact("Source", notebook.source?.path && h("code", {}, notebook.source.path), " ", version(notebook.source)),
      fact("Data", notebook.data?.path && [h("code", {}, notebook.data.path), " ", version(notebook.data), notebook.data.mode === "link" && " (attached as it is)"]),
      fact("Deployment", deployment && [String(deployment.number), " · ", causes(deployment).slice(0, 5).join(", "), " · ", deployment.action, " ", ago(deployment.started_at), " ago"]),
      fact("Environment", environment?.file && h("code", {}, environment.file), environment?.by_hand?.length > 0 && ` and ${count(environment.by_hand.length, "package")} installed by hand`),
      fact("Kernels", kernels(notebook)),
      fact("JupyterLab", host?.since && host.state === "PIPELINE_RUNNING" && ["running for ", ago(host.since)], host?.restarts > 0 && `, restarted ${count(host.restarts, "time")}`),
      fact("Limits", limits.length > 0 && [limits.join(", "), resources.enforced === false && " (not enforced on this machine)"]),
      fact("Engine", notebook.engine)),
  ];
}

const STAGES = { "": "All stages", watch: "Watch", build: "Build", host: "JupyterLab" };

function logs(notebook, { lines = [] }) {
  const wanted = open.find.toLowerCase();
  const shown = wanted ? lines.filter((one) => one.text.toLowerCase().includes(wanted)) : lines;
  return [
    h("div", { class: "bar", "data-key": "bar" },
      h("select", { id: "stage", "aria-label": "Stage" }, Object.entries(STAGES).map(([value, label]) => h("option", { value, selected: value === open.stage }, label))),
      h("input", { type: "search", id: "find", placeholder: "Find in the log", "aria-label": "Find in the log" }),
      h("label", {}, h("input", { type: "checkbox", id: "follow", checked: open.follow }), " Follow"),
      open.deploy && h("button", { "data-logs": "", "aria-label": `Show the newest log instead of that of deployment ${open.deploy}` }, `Deployment ${open.deploy} ✕`),
      h("span", { class: "quiet", role: "status" }, wanted ? `${shown.length} of ${count(lines.length, "line")}` : "")),
    shown.length > 0 ? h("pre", { class: "log", id: "lines", tabindex: 0, "aria-label": "Log lines", "data-key": "lines" },
      shown.map((one) => h("span", { class: level(one.text) },
        h("time", { datetime: one.time }, one.time ? new Date(one.time).toLocaleTimeString([], { hour12: false }) : ""), " ", marked(one.text, wanted), "\n")))
      : h("p", { class: "quiet" }, wanted ? "No line has this text." : "There is no line yet."),
  ];
}

const level = (text) => (/\b(error|failed|traceback|critical)\b/i.test(text) ? "bad" : /\bwarn(ing)?\b/i.test(text) ? "warn" : null);

function marked(text, wanted) {
  if (!wanted) return text;
  const at = text.toLowerCase().indexOf(wanted);
  return [text.slice(0, at), h("mark", {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)];
}

function history(notebook, { deployments = [] }) {
  const number = deployments.find((one) => one.current)?.number;
  return h("ol", { class: "past" }, deployments.map((one) => {
    const query = `from=${one.number}&to=${number}`;
    return h("li", { "data-key": String(one.number), class: one.outcome },
      h("div", {}, h("b", {}, one.number), " ", causes(one).slice(0, 3).join(", ") || "-",
        one.current && h("span", { class: "chip ok" }, "current"), one.outcome === "failed" && h("span", { class: "chip bad" }, "failed")),
      h("p", { class: "quiet" }, h("code", {}, one.source ?? "-"), ` · ${one.action} · `, clock(one.started_at),
        ` · ${one.seconds < 10 ? Number(one.seconds.toPrecision(one.seconds < 1 ? 1 : 2)) : Math.round(one.seconds)} s`),
      one.error && h("pre", { class: "error" }, one.error),
      h("div", { class: "do" }, one.can_roll_back && act(notebook, "rollback", { to: one.number }, `Roll back to ${one.number}`, "rollback"),
        h("button", { "data-logs": one.number, "data-key": "logs" }, "Logs"),
        !one.current && number && one.outcome === "live" && h("button", { "data-diff": query, "data-key": "diff", "aria-expanded": String(open.diff?.of === query) }, "Compare with now")),
      open.diff?.of === query && difference());
  }));
}

const CHANGES = { edited: "warn", new: "ok", deleted: "bad", moved: "" };
const sizes = ({ size, size_before: before }) => [before, size].filter((one) => one !== null && one !== undefined).map(bytes).join(" → ");

function edits(notebook, { files = [] }) {
  if (files.length === 0) return h("p", {}, "No file was edited in the notebook: it has what was deployed.");
  return [
    h("div", { class: "do" }, act(notebook, "pull", { paths: [] }, "Pull all into the source"), act(notebook, "reset", { paths: [] }, "Reset all")),
    h("ol", { class: "past" }, files.map((one) => {
      const query = `path=${encodeURIComponent(one.path)}`;
      return h("li", { "data-key": one.path },
        h("div", {}, h("code", {}, one.path), " ", h("span", { class: `chip ${CHANGES[one.kind] ?? ""}` }, one.kind)),
        h("p", { class: "quiet" }, sizes(one), one.modified_at && [" · ", clock(one.modified_at)]),
        h("div", { class: "do" }, h("button", { "data-diff": query, "data-key": "diff", "aria-expanded": String(open.diff?.of === query) }, "Show the difference"),
          act(notebook, "pull", { paths: [one.path] }, "Pull into the source", "pull"), act(notebook, "reset", { paths: [one.path] }, "Reset", "reset")),
        open.diff?.of === query && difference());
    })),
  ];
}

// What differs, as the daemon tells it: files with hunks or cells; between deployments also packages and data.
function difference() {
  const { found } = open.diff;
  if (found === null) return h("p", { class: "quiet" }, "Comparing…");
  if (found.error) return h("p", {}, found.error);
  const { files, packages: changed, data, missing = [] } = found;
  const rows = [...(changed?.added ?? []), ...(changed?.removed ?? []), ...(changed?.changed ?? [])];
  return h("div", { class: "difference", "data-key": "difference" },
    missing.map((text) => h("p", { class: "quiet" }, capital(text), ".")),
    rows.length > 0 && [h("h3", {}, "Packages"), h("ul", { class: "plain" }, rows.map((one) =>
      h("li", {}, `${one.name} `, h("span", { class: "quiet" }, `${one.before ?? "not there"} → ${one.after ?? "removed"}`))))],
    (data?.files ?? []).length > 0 && [h("h3", {}, "Data"), h("ul", { class: "plain" }, data.files.slice(0, 50).map((one) =>
      h("li", {}, h("code", {}, one.path), ` ${one.kind}`)))],
    (files ?? []).map((one) => h("section", {}, h("h3", {}, h("code", {}, one.path), " ", h("span", { class: `chip ${CHANGES[one.kind] ?? ""}` }, one.kind)),
      one.mode && h("p", { class: "quiet" }, one.mode), file(one))),
    files?.length === 0 && rows.length === 0 && missing.length === 0 && h("p", {}, "Nothing differs."));
}

function file(one) {
  if (one.cells) return one.cells.map((cell) => h("div", { class: "cell" },
    h("p", { class: "quiet" }, `Cell ${cell.number ?? cell.was} ${cell.kind}`, cell.outputs && `, outputs ${cell.outputs}`), hunks(cell.hunks)));
  if (one.hunks) return hunks(one.hunks);
  return h("p", { class: "quiet" }, one.why ?? `${one.form === "large" ? "Too large to compare" : "Not text"}: ${sizes(one)}`);
}

const SIGNS = { "+": "added", "-": "removed" };
const hunks = (found = []) => found.length > 0 && h("pre", { class: "diff", tabindex: 0, "aria-label": "Difference" }, found.map((one) => [
  h("span", { class: "at" }, `@@ -${one.old_start},${one.old_lines} +${one.new_start},${one.new_lines} @@\n`),
  one.lines.map((line) => h("span", { class: SIGNS[line[0]] }, line, "\n"))]));

async function compare(query) {
  const diff = open.diff?.of === query ? null : { of: query, found: null };
  open.diff = diff;
  drawSheet();
  if (!diff) return;
  diff.found = await ask(`${encodeURIComponent(open.name)}/diff?${query}`).catch((error) => ({ error: error.message }));
  if (open.diff === diff) drawSheet();
}

function copies(notebook, { recovered = [] }) {
  if (recovered.length === 0) return h("p", {}, "No copy is kept: kaosd has overwritten no edit of yours.");
  return h("ol", { class: "past" }, [...recovered].reverse().map((one) => h("li", { "data-key": one.file },
    h("div", {}, h("code", {}, one.path)), h("p", { class: "quiet" }, one.reason, " · ", clock(one.saved_at), one.size != null && ` · ${bytes(one.size)}`),
    h("div", { class: "do" }, act(notebook, "restore", { path: one.file }, "Restore", "restore")))));
}

function packages(notebook, found) {
  const wanted = open.find.toLowerCase();
  const shown = (found.packages ?? []).filter((one) => one.name.toLowerCase().includes(wanted));
  return [
    h("p", {}, "Python ", found.python, found.file && [" · ", h("code", {}, found.file)]),
    (found.by_hand ?? []).length > 0 && [h("h3", {}, "Installed by hand"), h("ul", { class: "plain" }, found.by_hand.map((one) =>
      h("li", { "data-key": one.name }, h("code", {}, `${one.name} ${one.version}`), " ",
        one.keep && act(notebook, "add", { packages: [`${one.name}==${one.version}`] }, `Add to ${found.file ?? "the requirements"}`, "add"))))],
    h("div", { class: "bar", "data-key": "bar" }, h("input", { type: "search", id: "find", placeholder: "Find a package", "aria-label": "Find a package" }),
      h("span", { class: "quiet", role: "status" }, count(shown.length, "package"))),
    h("ul", { class: "packages" }, shown.map((one) => h("li", { "data-key": one.name }, one.name, " ", h("span", { class: "quiet" }, one.version)))),
  ];
}

// -- what the person does ------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) {
    if (event.target === sheet) sheet.close(); // beside it
    return;
  }
  const { show: name, verb, tab, copy, diff, logs: number } = button.dataset;
  if (name !== undefined) show(name);
  else if (verb !== undefined) perform(button);
  else if (tab !== undefined) show(open.name, tab);
  else if (copy !== undefined) copyAddress(copy);
  else if (diff !== undefined) compare(diff);
  else if (number !== undefined) {
    open.deploy = number;
    show(open.name, "logs");
  }
  else if (button.dataset.close !== undefined) sheet.close();
});

document.addEventListener("keydown", (event) => {
  if (event.target.getAttribute?.("role") !== "tab") return;
  const keys = Object.keys(TABS);
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const to = event.key === "Home" ? 0 : event.key === "End" ? keys.length - 1 : by && (keys.indexOf(open.tab) + by + keys.length) % keys.length;
  if (to === undefined) return;
  event.preventDefault();
  show(open.name, keys[to]);
  document.getElementById(`tab-${keys[to]}`).focus();
});

document.addEventListener("input", ({ target }) => {
  if (target.id === "filter") {
    state.filter = target.value;
    draw();
  } else if (target.id === "find") {
    open.find = target.value;
    drawSheet();
  } else if (target.id === "follow") {
    open.follow = target.checked;
    drawSheet();
  } else if (target.id === "stage") {
    open.stage = target.value;
    load();
  }
});

// -- what kaosd tells ----------------------------------------------------------------------------------------

// A stream that is closed while the page is hidden: a browser keeps only six connections to one address.
function follow(address, arrived, gone) {
  let source = null;
  let timer = 0;
  let done = false;
  const start = () => {
    if (done || source || document.hidden) return;
    source = new EventSource(address);
    source.onmessage = (event) => {
      lost(false);
      arrived(JSON.parse(event.data));
    };
    source.addEventListener("gone", () => {
      end();
      gone();
    });
    source.onerror = async () => {
      lost(true);
      if (source?.readyState !== EventSource.CLOSED) return; // it connects again by itself
      pause();
      const answer = await fetch(`${OWN}/status`, { cache: "no-store" }).catch(() => null);
      if (answer?.status === 401) window.location.reload(); // to sign in
      clearTimeout(timer);
      timer = setTimeout(start, 2000);
    };
  };
  const pause = () => {
    source?.close();
    source = null;
  };
  const seen = () => (document.hidden ? pause() : start());
  const end = () => {
    done = true;
    clearTimeout(timer);
    pause();
    document.removeEventListener("visibilitychange", seen);
  };
  document.addEventListener("visibilitychange", seen);
  start();
  return end;
}

function lost(is) {
  if (state.lost === is) return;
  state.lost = is;
  draw();
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const text = duration((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}, 1000);

draw();
follow(`${OWN}/events`, (found) => {
  Object.assign(state, { notebooks: found.notebooks, daemon: found.daemon ?? null, arrived: true });
  draw();
}, () => window.location.reload());
function go() {
  const [name, tab] = window.location.hash.slice(1).split("/");
  if (name) show(decodeURIComponent(name), tab in TABS ? tab : "overview");
  else if (sheet.open) sheet.close();
}

window.addEventListener("hashchange", go);
go();
