// What the sections of the panel show.
import { difference } from "./differences.js";
import { element } from "./elements.js";
import { ago, bytes, counted, digest, duration, exactly, quantity } from "./words.js";

const LINES = 200; // of a log
const TAIL = 8; // of the build that runs
const PATHS = 12; // of a list; what is more is counted
const NEAR = 0.9; // of a limit

const path = (text) => element("code", { class: "kaosd-path" }, text);
const quiet = (...text) => element("p", { class: "kaosd-quiet" }, ...text);
const list = (items) => element("ul", { class: "kaosd-list" }, items);
const time = (at) => element("time", { datetime: at, title: exactly(at) }, ago(at));
const buttons = (...all) => element("div", { class: "kaosd-buttons" }, all);
const log = (lines, label) =>
  element("pre", { class: "kaosd-log", tabindex: 0, role: "log", "aria-label": label }, lines.join("\n"));

function paths(all) {
  const items = all.slice(0, PATHS).map((one) => element("li", {}, path(one)));
  if (all.length > PATHS) items.push(element("li", { class: "kaosd-quiet" }, `and ${all.length - PATHS} more`));
  return list(items);
}

// -- versions -----------------------------------------------------------------------------------------------------

function bundle(kind, { path: place, live, disk, hold }) {
  if (!place && !live) return null;
  const same = live === disk;
  return element("div", { class: "kaosd-version" },
    element("h4", {}, kind),
    element("dl", {},
      element("dt", {}, "live"), element("dd", {}, live ? path(digest(live)) : "nothing yet"),
      element("dt", {}, "on disk"), element("dd", {}, same ? "the same" : disk ? path(digest(disk)) : "not read yet")),
    place && element("p", { class: "kaosd-place", title: place }, element("bdi", {}, place)),
    hold && element("p", { class: "kaosd-note" }, hold));
}

const versions = {
  key: "versions",
  title: "Version",
  open: true,
  stamp: ({ source, data }) => [source, data],
  draw: (_, { source, data }) => [bundle("Code", source), bundle("Data", data)],
};

// -- the build ----------------------------------------------------------------------------------------------------

const isBuilding = (object) => Boolean(object.progress) || object.state === "building";

async function lastLines(daemon, stage, lines) {
  const { lines: found } = await daemon.get("logs", { stage, deploy: "last", lines });
  return found.map((line) => line.text);
}

function progressBar({ step, steps, text, expected }, startedAt) {
  const bar = { class: "kaosd-progress", max: steps || 1, "aria-label": "Progress of the build" };
  return [
    element("progress", step && steps ? { ...bar, value: step } : bar),
    element("p", {}, step && steps ? `Step ${step} of ${steps}: ${text}` : text),
    startedAt && quiet(element("span", { "data-since": startedAt }), expected && ` of about ${duration(expected)}`),
  ];
}

const build = {
  key: "build",
  title: "Build",
  open: true,
  shown: ({ build }) => Boolean(build),
  stamp: ({ build, progress, state }) => [build?.job, build?.state, progress, state],
  load: (daemon, object) => (isBuilding(object) || object.build.error ? lastLines(daemon, "build", TAIL) : null),
  draw: (panel, object, lines) => {
    const { build: job, progress } = object;
    const parts = [];
    if (isBuilding(object) && progress) parts.push(progressBar(progress, job.started_at));
    else if (job.error) parts.push(element("p", { class: "kaosd-reason" }, job.error));
    else parts.push(element("p", {}, `Built in ${duration(job.seconds)}, `, time(job.started_at), "."));
    if (lines?.length) parts.push(log(lines, "Last log lines of the build"));
    if (lines) parts.push(buttons(panel.button("Show the whole log", "whole log", () => panel.openLog("build"))));
    return parts;
  },
};

// -- what changed -------------------------------------------------------------------------------------------------

function packages(changed) {
  const all = [
    ...(changed?.added ?? []).map((one) => `+ ${one.name} ${one.after}`),
    ...(changed?.removed ?? []).map((one) => `− ${one.name} ${one.before}`),
    ...(changed?.changed ?? []).map((one) => `${one.name} ${one.before} → ${one.after}`),
  ];
  return all.length ? [element("h4", {}, "Packages"), paths(all)] : [];
}

const ACTIONS = {
  sync: "Code was updated",
  attach: "Data was attached",
  build: "The environment was built",
  swap: "The new environment was taken into use",
  start: "JupyterLab was started",
  apply: "Limits were changed",
  none: "Nothing had to be done",
};

const changes = {
  key: "changes",
  title: "Last change",
  shown: ({ deployment }) => Boolean(deployment),
  stamp: ({ deployment }) => [deployment?.number, deployment?.outcome, deployment?.action],
  load: (daemon, { deployment }) =>
    deployment.number > 1 && ["build", "swap", "start"].includes(deployment.action)
      ? daemon.get("diff", { from: deployment.number - 1, to: deployment.number }).catch(() => null)
      : null,
  draw: (_, { deployment }, diff) => [
    element("p", {}, `${ACTIONS[deployment.action] ?? deployment.action}, `, time(deployment.started_at),
      deployment.outcome === "live" ? "." : `: ${deployment.outcome}.`),
    deployment.error && element("p", { class: "kaosd-reason" }, deployment.error),
    deployment.cause.length > 0 && paths(deployment.cause),
    packages(diff?.packages),
  ],
};

// -- edits --------------------------------------------------------------------------------------------------------

const count = (edits) => (edits ? edits.edited + edits.new + edits.deleted : 0);

// A button that shows and hides how a file differs, with the place where that is shown.
function differs(panel, label, key, query) {
  const shown = element("div", {});
  const toggle = async () => {
    if (shown.firstChild) shown.replaceChildren();
    else shown.replaceChildren(...(await panel.daemon.get("diff", query)).files.map(difference));
    button.setAttribute("aria-expanded", String(Boolean(shown.firstChild)));
  };
  const button = panel.button("Diff", key, toggle, { "aria-label": label, "aria-expanded": "false" });
  return { button, shown };
}

function edit(panel, section, { path: place, kind }) {
  const { button, shown } = differs(panel, `Diff of ${place}`, `diff ${place}`, { path: place });
  const act = (verb) => () => panel.daemon.post(verb, { paths: [place] }).then(() => section.refresh(true));
  return element("li", {},
    element("div", { class: "kaosd-row" }, path(place), element("span", { class: "kaosd-tag" }, kind)),
    buttons(
      button,
      panel.button("Pull", `pull ${place}`, act("pull"), {
        "aria-label": `Pull ${place} into the source directory`, title: "Write this edit into the source directory" }),
      panel.button("Reset", `reset ${place}`, act("reset"), {
        "aria-label": `Reset ${place}`, title: "Bring back the deployed version; your edit is kept as a copy" })),
    shown);
}

const edits = {
  key: "edits",
  title: "Edited here",
  shown: ({ edits }) => count(edits) > 0,
  count: ({ edits }) => count(edits),
  open: true,
  stamp: ({ edits, source }) => [edits, source.live],
  load: (daemon) => daemon.get("edits"),
  draw: (panel, object, { files }, section) => {
    const all = (verb) => () => panel.daemon.post(verb, { paths: [] }).then(() => section.refresh(true));
    return [
      quiet("These files differ from the deployed version. kaosd keeps them."),
      list(files.slice(0, LINES).map((one) => edit(panel, section, one))),
      files.length > 1 && buttons(
        panel.button("Pull all", "pull", all("pull"), { title: "Write all edits into the source directory" }),
        panel.button("Reset all", "reset", all("reset"), { title: "Bring back the deployed version; copies are kept" })),
    ];
  },
};

// -- the past -----------------------------------------------------------------------------------------------------

function deployment(panel, one) {
  const live = one.source === panel.object.source.live && one.data === panel.object.data.live;
  const back = one.can_roll_back && !live && panel.button("Roll back", `rollback ${one.number}`,
    () => panel.daemon.post("rollback", { to: one.number }), { "aria-label": `Roll back to deployment ${one.number}` });
  const cause = one.cause.slice(0, 2).join(", ") + (one.cause.length > 2 ? ` and ${one.cause.length - 2} more` : "");
  return element("li", { class: "kaosd-deployment" },
    element("div", { class: "kaosd-row" },
      element("span", { class: "kaosd-number" }, `${one.number}`),
      element("span", { class: "kaosd-cause", title: one.cause.join("\n") }, cause),
      back),
    element("p", { class: "kaosd-quiet" },
      time(one.started_at), ` · ${one.action}`, one.source && [" · ", path(digest(one.source))],
      one.outcome === "live" ? (live ? " · live now" : "") : ` · ${one.outcome}`));
}

const history = {
  key: "history",
  title: "History",
  stamp: ({ deployment, source, data }) => [deployment?.number, deployment?.outcome, source.live, data.live],
  load: (daemon) => daemon.get("history"),
  draw: (panel, _, { deployments, pinned }) => [
    pinned && element("div", { class: "kaosd-note" },
      `Rolled back to ${digest(pinned)} until the files change again. `,
      panel.button("Return to what is on disk", "unpin", () => panel.daemon.post("redeploy", {}))),
    list(deployments.slice(0, 30).map((one) => deployment(panel, one))),
  ],
};

function copy(panel, section, one) {
  const label = `What is different now from ${one.path}`;
  const { button, shown } = differs(panel, label, `since ${one.file}`, { copy: one.file });
  const restore = () => panel.daemon.post("restore", { path: one.file }).then(() => section.refresh(true));
  return element("li", {},
    path(one.path),
    element("p", { class: "kaosd-quiet", title: one.file },
      time(one.saved_at), ` · ${bytes(one.size)} · ${one.reason}`),
    buttons(button, panel.button("Restore", `restore ${one.file}`, restore, { "aria-label": `Restore ${one.path}` })),
    shown);
}

const copies = {
  key: "copies",
  title: "Copies kept",
  shown: ({ recovered }) => recovered > 0,
  count: ({ recovered }) => recovered,
  stamp: ({ recovered }) => recovered,
  load: (daemon) => daemon.get("recovered"),
  draw: (panel, _, { recovered }, section) => [
    quiet("Edits made here, as they were before something newer was merged with them or took their place."),
    list(recovered.slice().reverse().slice(0, LINES).map((one) => copy(panel, section, one))),
  ],
};

// -- resources ----------------------------------------------------------------------------------------------------

function meter(label, used, limit, words) {
  const text = limit ? `${words(used)} of ${words(limit)}` : `${words(used)}, no limit`;
  const share = limit ? Math.min(1, used / limit) : 0;
  return element("div", { class: "kaosd-meter" },
    element("div", { class: "kaosd-row" }, element("span", {}, label), element("span", { class: "kaosd-quiet" }, text)),
    limit && element("div", { class: "kaosd-bar", "data-near": share >= NEAR, role: "meter", "aria-label": label,
      "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": share.toFixed(2), "aria-valuetext": text },
      element("div", { style: `width: ${(share * 100).toFixed(1)}%` })));
}

const cores = (number) => counted(Math.round(number * 100) / 100, "core");

const resources = {
  key: "resources",
  title: "Resources",
  open: true,
  shown: ({ usage, host }) => Boolean(usage) || host.kernels > 0,
  stamp: ({ usage, resources, host }) => [usage, resources, host.kernels, host.busy, host.outdated],
  draw: (_, { usage, resources: limits, host }) => [
    usage && meter("Memory", usage.memory, quantity(limits.memory), bytes),
    usage?.cpu != null && meter("Processor", usage.cpu, limits.cpu, cores),
    usage?.gpu_memory != null && meter("GPU memory", usage.gpu_memory, null, bytes),
    element("p", {}, counted(host.kernels, "kernel"), host.busy ? `, ${host.busy} busy` : "",
      host.outdated ? `, ${host.outdated} on an older environment` : ""),
    (limits.memory || limits.cpu) && !limits.enforced && quiet("The limits are not enforced on this machine."),
  ],
};

const byHand = {
  key: "by-hand",
  title: "Installed by hand",
  shown: ({ environment }) => environment.by_hand.length > 0,
  count: ({ environment }) => environment.by_hand.filter((one) => one.requested).length,
  stamp: ({ environment }) => environment,
  draw: (panel, { environment: { by_hand: found, file } }) => [
    quiet(`These packages are not in ${file ?? "an environment file"}; a new environment will not have them.`),
    list(found.filter((one) => one.requested).map((one) =>
      element("li", { class: "kaosd-row" }, path(`${one.name} ${one.version}`),
        panel.button("Add", `add ${one.name}`,
          () => panel.daemon.post("add", { packages: [`${one.name}==${one.version}`] }),
          { "aria-label": `Add ${one.name} to ${file}`, title: `Write ${one.name}==${one.version} into ${file}` })))),
  ],
};

const warnings = {
  key: "warnings",
  title: "Warnings",
  shown: ({ warnings, refused }) => warnings.length + refused.length > 0,
  count: ({ warnings, refused }) => warnings.length + refused.length,
  stamp: ({ warnings, refused }) => [warnings, refused],
  draw: (_, object) => list([...object.warnings, ...object.refused].map((text) => element("li", {}, text))),
};

// -- logs ---------------------------------------------------------------------------------------------------------

const STAGES = { build: "Build", host: "JupyterLab", watch: "Changes" };

const logs = {
  key: "logs",
  title: "Logs",
  stamp: ({ deployment, build, progress }) => [deployment?.number, deployment?.outcome, build?.state, progress],
  load: (daemon) => {
    logs.stage ??= "build";
    return lastLines(daemon, logs.stage, LINES);
  },
  draw: (panel, _, lines, section) => {
    const choose = (stage) => panel.button(STAGES[stage], `stage ${stage}`, () => {
      logs.stage = stage;
      return section.refresh(true);
    }, { "aria-pressed": String(stage === logs.stage) });
    const shown = lines.length ? log(lines, `Log: ${STAGES[logs.stage]}`) : quiet("No lines yet.");
    requestAnimationFrame(() => (shown.scrollTop = shown.scrollHeight));
    const again = panel.button("Refresh", "refresh", () => section.refresh(true));
    return [buttons(Object.keys(STAGES).map(choose), again), shown];
  },
};

// Which log is shown next.
export function chooseLog(stage) {
  logs.stage = stage;
}

export const SECTIONS = [warnings, build, versions, edits, byHand, resources, changes, history, copies, logs];
