// The list of episodes, the curve of their distances, and where they end.
import { counted, h, number, panel, replace, whole } from "./dom.js";
import { ask, mapAddress, pageHeader } from "./requests.js";

const BIN = 64; // pixels, as in episodes/browsing.py
const TONES = { died: "brick", game_over: "brick", life_lost: "brick", timed_out: "plum", stalled: "coin", step_limit: "a7", completed: "pipe" };
export const COLUMNS = [
  ["id", "id", "episode"], ["experiment", null, "experiment"], ["played as", null, "protocol"], ["step", null, "global_step"], ["level", null, "level"],
  ["pixels", "distance_traveled", "distance_traveled"], ["reward", "reward", "reward"], ["decisions", "steps", "steps"], ["score", "score", "score"], ["ended", null, "end_reason"],
];
const FILTERS = [["experiment", "Experiment"], ["level", "Level"], ["phase", "Phase"], ["protocol", "Played as"], ["end_reason", "Ended"], ["completed", "Completed"]];
const TEXTS = new Set(["experiment", "protocol", "end_reason"]);

export function listPage() {
  return new List().open();
}

class List {
  async open() {
    this.choices = { ...(await ask("/api/choices")), completed: ["yes", "no"] };
    this.state = new URLSearchParams(location.search);
    this.summary = h("p", { class: "note", "aria-live": "polite" });
    this.tableBox = h("div", { class: "table scroll", tabindex: 0, role: "group", "aria-label": "Episodes" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    this.endings = h("div", { class: "endings" });
    this.follow = h("p", { class: "note" });
    window.addEventListener("popstate", () => {
      this.state = new URLSearchParams(location.search);
      this.fill();
      this.load();
    });
    this.form = h("form", { class: "panel filters", onsubmit: (event) => event.preventDefault() }, FILTERS.map(([name, label]) => this.choice(name, label)),
      h("button", { type: "button", onclick: () => this.go({}, true) }, "Clear"));
    this.fill();
    await this.load();
    return [pageHeader("Episodes", "Each can be played again exactly.", h("a", { href: "/play" }, "Let a model play now"), h("a", { href: "/compare" }, "Compare two")),
      h("main", { class: "wide list" }, this.form, this.follow, this.endings, this.summary, this.tableBox, this.pager)];
  }

  choice(name, label) {
    const options = [h("option", { value: "" }, "any"), ...this.choices[name].map((each) => h("option", { value: each }, each.replaceAll("_", " ")))];
    return h("label", {}, h("span", {}, label), h("select", { name, onchange: (event) => this.go({ [name]: event.target.value, page: "" }) }, options));
  }

  fill() {
    const experiment = this.state.get("experiment");
    replace(this.follow, experiment ? h("a", { href: `/live?${new URLSearchParams({ experiment })}` }, `Follow ${experiment}`) : null);
    for (const select of this.form.querySelectorAll("select")) select.value = this.state.get(select.name) ?? "";
  }

  go(changes, clear = false) {
    if (clear) this.state = new URLSearchParams();
    for (const [name, value] of Object.entries(changes)) {
      if (value === "") this.state.delete(name);
      else this.state.set(name, value);
    }
    const query = this.state.toString();
    history.pushState(null, "", query ? `/?${query}` : "/");
    this.fill();
    this.load();
  }

  async load() {
    const filter = new URLSearchParams(FILTERS.flatMap(([name]) => (this.state.get(name) ? [[name, this.state.get(name)]] : [])));
    try {
      const [page, ends] = await Promise.all([ask(`/api/episodes?${this.state}`), ask(`/api/endings?${filter}`)]);
      this.show(page);
      replace(this.endings, page.total ? [curvePanel(ends.curve), endingsPanel(ends.bins)] : null);
    } catch (error) {
      replace(this.tableBox, h("p", { class: "callout", role: "alert" }, error.message));
    }
  }

  show({ rows, total, size }) {
    const page = Number(this.state.get("page") ?? 0);
    const from = page * size + 1;
    const nothing = this.state.size ? "No episode matches. Choose less, or clear the choice." : "No episode has been stored yet. `make demo` plays some.";
    this.summary.textContent = total ? `${whole(from)} to ${whole(from + rows.length - 1)} of ${counted(total, "episode")}` : nothing;
    this.tableBox.hidden = !total;
    replace(this.tableBox, h("table", {}, h("thead", {}, h("tr", {}, COLUMNS.map((column) => this.head(column)))), h("tbody", {}, rows.map((row) => episodeRow(row)))));
    const pages = Math.ceil(total / size);
    const to = (label, wanted, text) => h("button", { type: "button", "aria-label": label, disabled: wanted < 0 || wanted >= pages || wanted === page, onclick: () => this.go({ page: wanted || "" }) }, text);
    replace(this.pager, pages > 1 ? [to("First page", 0, "«"), to("Previous page", page - 1, "‹"), h("span", {}, `page ${whole(page + 1)} of ${whole(pages)}`), to("Next page", page + 1, "›"), to("Last page", pages - 1, "»")] : null);
  }

  head([label, sort, name]) {
    const align = TEXTS.has(name) || name === "level" ? "" : "n";
    if (!sort) return h("th", { scope: "col", class: align }, label);
    const chosen = (this.state.get("sort") ?? "id") === sort;
    const descending = (this.state.get("order") ?? "descending") === "descending";
    const order = chosen && descending ? "ascending" : "descending";
    return h("th", { scope: "col", class: align, "aria-sort": chosen ? (descending ? "descending" : "ascending") : null },
      h("button", { type: "button", class: "sort", onclick: () => this.go({ sort, order, page: "" }) }, `${label} ${chosen ? (descending ? "▾" : "▴") : ""}`));
  }
}

export function episodeRow(row) {
  const how = row.phase === "evaluate" ? row.protocol : row.phase;
  const name = row.playable ? h("a", { href: `/episodes/${row.id}` }, String(row.id)) : h("span", { title: "its actions were not kept" }, String(row.id));
  const ended = h("span", {}, h("i", { class: `dot tone-${TONES[row.end_reason]}` }), row.end_reason.replaceAll("_", " "));
  const cells = [row.experiment, how.replaceAll("_", " "), whole(row.global_step), `${row.world}-${row.stage}`, whole(row.distance_traveled), number(row.reward, 1), whole(row.steps), whole(row.score), ended];
  return h("tr", {}, h("th", { scope: "row", class: "n" }, name), cells.map((cell, index) => h("td", { class: [0, 1, 3, 8].includes(index) ? "" : "n" }, cell)));
}

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, properties, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function curvePanel(curve) {
  const highest = Math.max(1, ...curve);
  const points = curve.map((value, index) => `${((index + 0.5) / curve.length) * 600},${88 - (value / highest) * 84}`).join(" ");
  const picture = drawn("svg", { viewBox: "0 0 600 90", preserveAspectRatio: "none", role: "img", "aria-label": `Mean distance of the episodes in order: from ${Math.round(curve[0])} to ${Math.round(curve.at(-1))} pixels, at most ${Math.round(highest)}` },
    drawn("polyline", { points: curve.length > 1 ? points : `0,4 600,4`, class: "spark" }));
  return panel("Distance, in the order of the episodes", picture, h("p", { class: "note" }, `up to ${whole(Math.round(highest))} pixels`));
}

// Bars of the episodes that end in each 64 pixels of a level; a click leads to the newest of them.
function endingsPanel(bins) {
  const levels = new Map();
  for (const each of bins) {
    const level = `${each.world}-${each.stage}`;
    levels.set(level, [...(levels.get(level) ?? []), each]);
  }
  const total = (own) => own.reduce((sum, each) => sum + each.count, 0);
  const most = [...levels].sort((one, other) => total(other[1]) - total(one[1])).slice(0, 3);
  const reasons = [...new Set(bins.map((each) => each.end_reason))];
  const key = h("p", { class: "legend" }, reasons.map((reason) => h("span", {}, h("i", { class: `tone-${TONES[reason]}` }), reason.replaceAll("_", " "))));
  return panel("Where they end", key, most.map(([level, own]) => [h("p", { class: "note" }, `level ${level}, ${counted(total(own), "episode")}; a bar leads to one of them. Behind a pipe, pixels count from the left end of that area`), bars(level, own)]));
}

function bars(level, own) {
  const last = Math.max(52, ...own.map((each) => each.bin + 1));
  const heights = new Map();
  for (const each of own) heights.set(each.bin, (heights.get(each.bin) ?? 0) + each.count);
  const highest = Math.max(...heights.values());
  const scale = (count) => (Math.sqrt(count) / Math.sqrt(highest)) * 92; // so that single episodes can be seen too
  const below = new Map();
  const picture = drawn("svg", { viewBox: `0 0 ${last * 12} 110`, class: "bars", role: "group", "aria-label": `Where episodes of ${level} end` });
  for (const each of own) {
    const before = below.get(each.bin) ?? 0;
    below.set(each.bin, before + each.count);
    const top = 96 - scale(before + each.count);
    const text = `${each.count} ${each.end_reason.replaceAll("_", " ")} at ${each.bin * BIN} to ${each.bin * BIN + BIN - 1} pixels`;
    const bar = drawn("rect", { x: each.bin * 12 + 1, y: top, width: 10, height: Math.max(1.5, 96 - scale(before) - top), class: `tone-${TONES[each.end_reason]}` }, drawn("title", {}, text));
    picture.append(each.example ? drawn("a", { href: `/episodes/${each.example}#end`, "aria-label": text }, bar) : bar);
  }
  for (let x = 0; x < last - 3; x += 8) picture.append(drawn("text", { x: x * 12, y: 109, class: "tick" }, String(x * BIN)));
  showLevel(picture, level, last * 12);
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Endings in ${level}` }, picture);
}

// The level below its bars, as soon as its picture is there. Without one the bars stay as they are.
function showLevel(picture, level, width) {
  const image = new Image();
  image.addEventListener("load", () => {
    const scale = 12 / BIN;
    const height = image.naturalHeight * scale;
    picture.setAttribute("viewBox", `0 0 ${width} ${113 + height}`);
    picture.append(drawn("image", { href: image.src, x: 0, y: 112, width: image.naturalWidth * scale, height, "aria-hidden": "true" }));
  });
  image.src = mapAddress(level);
}
