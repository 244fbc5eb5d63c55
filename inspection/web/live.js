// An experiment that trains: how far it is, its newest episodes, and the course of their distance.
import { h, number, panel, replace, say, whole } from "./dom.js";
import { COLUMNS, curvePanel, episodeRow } from "./list.js";
import { ask, pageHeader } from "./requests.js";

const EVERY_MS = 10_000; // a question takes Postgres some milliseconds, which a training can spare
const CURVE_EVERY = 6; // questions

export async function livePage() {
  const name = new URLSearchParams(location.search).get("experiment") ?? "";
  const live = new Live(name);
  await live.ask();
  live.wait();
  return [
    pageHeader(name, "The page asks for news every ten seconds while it can be seen.", h("a", { href: `/?${new URLSearchParams({ experiment: name })}` }, "All its episodes")),
    h("main", { class: "wide list" }, live.progress, live.curveBox, live.newest),
  ];
}

class Live {
  constructor(name) {
    this.name = name;
    this.questions = 0;
    this.bar = h("span", { class: "bar" });
    this.track = h("div", { class: "track", role: "progressbar", "aria-label": "Training", "aria-valuemin": 0, "aria-valuemax": 100 }, this.bar);
    this.facts = h("dl", { class: "facts" });
    this.error = h("p", { class: "note", role: "status" });
    this.progress = panel("Training", this.track, this.facts, this.error);
    this.curveBox = h("div", {});
    this.newest = h("div", {});
  }

  async ask() {
    const curve = this.questions % CURVE_EVERY === 0 ? "?curve=yes" : "";
    this.questions += 1;
    this.show(await ask(`/api/live/${encodeURIComponent(this.name)}${curve}`));
  }

  wait() {
    setTimeout(async () => {
      if (!this.progress.isConnected) return;
      if (!document.hidden) {
        try {
          await this.ask();
          say(this.error, "");
        } catch (error) {
          say(this.error, error.message);
        }
      }
      this.wait();
    }, EVERY_MS);
  }

  show(found) {
    // Steps are counted up to the last episode that has ended.
    const share = found.status === "completed" ? 100 : Math.min(100, Math.floor((100 * found.steps) / Math.max(1, found.total_steps)));
    this.bar.style.width = `${share}%`;
    this.bar.style.background = "var(--sky)";
    this.track.setAttribute("aria-valuenow", String(share));
    const state = found.status === "running" && !found.held ? "gone: no process runs it" : found.held ? "running now" : found.status;
    const facts = {
      state, steps: `${whole(found.steps)} of ${whole(found.total_steps)}`, "per second": this.pace(found),
      "completed, of the last 100": found.recent === null ? "none yet" : `${number(100 * found.recent, 0)} %`,
    };
    replace(this.facts, Object.entries(facts).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    if (found.curve?.length) replace(this.curveBox, curvePanel(found.curve));
    const playable = found.newest.find((row) => row.playable);
    replace(this.newest, panel("Newest episodes", found.newest.length ? [
      playable ? h("p", {}, h("a", { class: "button", href: `/episodes/${playable.id}` }, "Look into the newest")) : null,
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Newest episodes" },
        h("table", {}, h("thead", {}, h("tr", {}, COLUMNS.map(([label]) => h("th", { scope: "col" }, label)))), h("tbody", {}, found.newest.map((row) => episodeRow(row))))),
    ] : h("p", { class: "note" }, "No episode has ended yet.")));
  }

  // Decisions a second since the question before; the first question has none before it.
  pace(found) {
    const now = performance.now();
    const before = this.before;
    if (!before || found.steps !== before.steps) this.before = { steps: found.steps, now };
    if (!before || found.steps <= before.steps) return "";
    return whole(Math.round((1000 * (found.steps - before.steps)) / (now - before.now)));
  }
}
