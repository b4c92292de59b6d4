// What the page shows of kaosd: the item in the status bar, the panel, notices, the window's title. Each of them may be
// absent; nothing here is needed for changes to reach the open documents (desk.js).
import { Daemon } from "./daemon.js";
import { element } from "./elements.js";
import { Item } from "./item.js";
import { Lab, attempt, nameWindow } from "./lab.js";
import { Notices } from "./notices.js";
import { Panel } from "./panel.js";

// tools: of desk.js. base: address of the notebook, which ends with its name and "/".
export async function start(app, tools, services, base) {
  const lab = new Lab(app, tools, services);
  const daemon = new Daemon(base, lab.token);
  const panel = new Panel(daemon, lab);
  const show = (section, key) => panel.open(section, key);
  document.head.append(element("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url).href }));
  const parts = [panel];
  const add = async (object) => {
    await attempt("the window's title", () => nameWindow(object.name));
    await attempt("the panel", async () => (panel.show = await lab.addPanel(panel.node)));
    await attempt("the item in the status bar", async () => {
      const item = new Item(() => show());
      await lab.addStatusItem(item.node);
      parts.push(item);
    });
    await attempt("notices", async () => parts.push(new Notices(await lab.notices(), daemon, lab, show)));
  };
  let added = null; // with the first object: until then nobody knows whether there is a front
  const seen = async (object) => {
    await (added ??= add(object));
    for (const part of parts) await attempt(part.constructor.name, () => part.update(object));
  };
  const lost = async () => {
    await added;
    for (const part of parts) part.lost();
  };
  await daemon.follow((object) => void seen(object), () => void lost());
}
