// The notebook's daemon, behind the front that this page came from: its answers, its wishes, its stream of objects.
const PAUSE = 1; // seconds before the first try to reach it again
const LONGEST = 15; // and before any later one

// What the daemon refused, in its own words.
export class Refused extends Error {}

// There is no front between this page and its JupyterLab.
export class Absent extends Error {}

export class Daemon {
  // base: address of the notebook. token: of the notebook; a cookie of the front does as well.
  constructor(base, token) {
    this.base = new URL("kaosd/", base);
    this.headers = { "X-Kaosd": "1", ...(token ? { Authorization: `token ${token}` } : {}) };
  }

  async get(what, query = {}) {
    const address = new URL(what, this.base);
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
    return (await this.#fetch(address, { cache: "no-store" })).json();
  }

  async post(verb, body = {}) {
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", body: JSON.stringify(body), headers };
    return (await this.#fetch(new URL(verb, this.base), options)).json();
  }

  async #fetch(address, options) {
    const headers = { ...this.headers, ...options.headers };
    const answer = await fetch(address, { credentials: "same-origin", ...options, headers });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const reason = problem.detail || problem.title || `kaosd answers with ${answer.status}`;
    throw new Refused(problem.hint ? `${reason}: ${problem.hint}` : reason);
  }

  // Call *seen* with each object of the notebook, and *lost* while there is none to be had. Only while the page is
  // visible: a browser has six connections to one address, and a person may have more tabs than that.
  async follow(seen, lost) {
    for (let tries = 0; ; tries += 1) {
      await visible();
      const stop = new AbortController();
      const hidden = () => document.hidden && stop.abort();
      document.addEventListener("visibilitychange", hidden);
      try {
        for await (const object of this.#objects(stop.signal)) {
          tries = 0;
          seen(object);
        }
      } catch (error) {
        if (error instanceof Absent) throw error;
        if (!stop.signal.aborted) lost(error);
      } finally {
        document.removeEventListener("visibilitychange", hidden);
      }
      if (!stop.signal.aborted) await wait(Math.min(LONGEST, PAUSE * 2 ** tries) * (0.8 + 0.4 * Math.random()));
    }
  }

  async *#objects(signal) {
    const answer = await fetch(new URL("events", this.base), { headers: this.headers, signal, cache: "no-store" });
    if (answer.status === 404) throw new Absent("this JupyterLab is not behind the front of kaosd");
    if (!answer.ok) throw new Refused(`kaosd answers with ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value.replaceAll("\r\n", "\n");
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const lines = event.split("\n");
        if (lines.includes("event: gone")) throw new Refused("the notebook was removed");
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
        if (data.length > 0) yield JSON.parse(data.join("\n"));
      }
    }
  }
}

const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function visible() {
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}
