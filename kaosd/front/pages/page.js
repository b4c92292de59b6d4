"use strict";
// Keeps the parts of a page that change up to date, and hands over to the notebook when its host answers.
const { state, handover } = document.body.dataset;
let { tag } = document.body.dataset;
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function replace(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const part = document.getElementById(id);
    if (part.dataset.html === html) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const log = part.querySelector("pre.log");
    const followed = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const place = log?.scrollTop;
    part.innerHTML = part.dataset.html = html;
    if (focused) document.getElementById(focused)?.focus();
    settle(part, followed ? undefined : place);
  }
}

// A log shows its end, unless the person has scrolled to another place.
function settle(part, place) {
  for (const log of part.querySelectorAll("pre.log")) log.scrollTop = place ?? log.scrollHeight;
  tick();
}

// What cannot be undone is asked about first; what kaosd answers stands below the buttons.
const ASKED = {
  cancel: "Stop this build? What is served now stays.",
  restart: "Start JupyterLab again? Its kernels stop, and their variables are lost.",
  rollback: "Serve the version before, until the files change again?",
  reset: "Bring the deployed version back? Your edits are kept as copies.",
};

async function act({ dataset: { verb, body } }) {
  const asked = JSON.parse(body).now ? "Stop busy kernels now? Their variables are lost." : ASKED[verb];
  if (asked && !window.confirm(asked)) return;
  const headers = { "X-Kaosd": "1", "Content-Type": "application/json" };
  const tell = (text) => (document.getElementById("said") ?? lost).replaceChildren(text);
  try {
    const answer = await fetch(new URL(verb, new URL(state, location.href)), { method: "POST", headers, body });
    const found = await answer.json();
    tell(answer.ok ? "" : `${found.detail} ${found.hint ?? ""}`);
  } catch {
    tell("kaosd does not answer.");
  }
}

document.addEventListener("click", ({ target }) => target.closest("button[data-verb]") && act(target.closest("button")));

const lost = document.getElementById("lost");
const since = (text) => Math.max(0, (Date.now() - Date.parse(text)) / 1000);

function tick() {
  for (const time of document.querySelectorAll("time[data-elapsed]")) {
    const seconds = Math.floor(since(time.dateTime));
    time.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
  // Never full before it is done, however long it takes.
  for (const bar of document.querySelectorAll("progress[max]")) {
    const part = since(bar.dataset.since) / bar.max;
    bar.value = bar.max * (part < 0.8 ? part : 1 - 0.2 / (1 + (part - 0.8) * 5));
  }
}

async function follow() {
  for (;;) {
    // A hidden page asks without waiting: a waiting request takes one of the few connections of the browser.
    const wait = document.hidden ? 0 : 20;
    try {
      const answer = await fetch(`${state}?seen=${tag}&wait=${wait}`, { cache: "no-store" });
      if (answer.status === 401 || answer.status === 404) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const news = await answer.json();
      lost.hidden = true;
      if (news.ready && handover !== undefined) return location.reload();
      if (news.tag !== tag) {
        tag = news.tag;
        document.title = news.title;
        replace(news.parts);
      }
    } catch {
      lost.hidden = false;
      await pause(2);
    }
    await pause(document.hidden ? 2 : 0.2);
  }
}

if (state) {
  settle(document);
  setInterval(tick, 1000);
  follow();
}
