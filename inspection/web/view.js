// An episode: the picture, the clock below it, the panels beside it, and the charts over time.
import { Chart, shade } from "./charts.js";
import { Clock } from "./clock.js";
import { colour, h, lastBefore, number, panel, replace, say, whole } from "./dom.js";
import { Strip } from "./film.js";
import { tilesPanel } from "./tiles.js";
import { mapPanel } from "./map.js";
import { eventsPanel, factsPanel, ledgerPanel, legend, message, originPanel, padPanel, paintSaliency, scoresPanel, seenPanel } from "./panels.js";

const KEYS = [
  ["space, k", "play or pause"], ["left, right", "one decision"], [", and .", "one frame"], ["shift + left, right", "one second"],
  ["< and >", "slower, faster"], ["home, end", "beginning, end"], ["e, shift + e", "next event, event before"], ["s", "where the model looks"],
];

// sources: screen(sheet), seen(sheet) and map(level, rom) give addresses; saliency(decision) gives a promise, where the page has a model at hand.
export function openEpisode(episode, sources, { clock: withClock = true } = {}) {
  return new View(episode, sources, withClock);
}

class View {
  constructor(episode, sources, withClock) {
    Object.assign(this, { episode, sources });
    this.screens = new Strip(episode.screens, sources.screen);
    this.stage = h("canvas", { class: "screen", width: 256, height: 240, role: "img", "aria-label": "The game" });
    this.overlay = h("canvas", { class: "overlay", "aria-hidden": "true" });
    this.frame = 0;
    this.looking = false;
    const jump = (frame) => this.clock.jump(frame); // of two episodes, the clock that they share
    this.sight = episode.seen.kind === "tiles" ? tilesPanel(episode) : seenPanel(episode, new Strip(episode.seen, sources.seen));
    this.opinionBox = h("div", { class: "opinion" });
    this.chartBox = h("div", { class: "charts" });
    this.shown = [padPanel(episode), factsPanel(episode), this.sight, ledgerPanel(episode), eventsPanel(episode, jump)];
    this.charts = [];
    this.map = mapPanel(episode, sources.map, jump);
    this.shown.push(this.map);
    if (withClock) this.clock = this.makeClock();
    this.header = this.makeHeader();
    this.element = this.layOut(withClock);
    this.addRewardChart();
    if (episode.opinion) this.setOpinion(episode.opinion);
  }

  makeHeader() {
    const { origin, figures, level } = this.episode;
    const parts = [origin.experiment, origin.model, `level ${level}`, `reward ${number(figures.reward)}`, `${whole(figures.distance_traveled)} pixels`];
    return h("header", { class: "slim" }, h("div", {}, h("p", { class: "eyebrow" }, "train-mario · episode"), h("h1", {}, this.episode.title),
      h("p", { class: "detail" }, parts.filter(Boolean).join(" · ")),
      origin.by_hand ? h("p", { class: "badge" }, "played by hand in part: it counts nowhere") : null));
  }

  makeClock() {
    const { frames, frame_rate, first_frames, events, facts } = this.episode;
    return new Clock({
      frames, rate: frame_rate, firstFrames: first_frames, events, show: (frame) => this.show(frame), ready: (frame) => this.screens.ready(frame),
      describe: (frame) => `x ${facts.x_pos[frame]}, clock ${facts.time[frame]}`, keys: { s: () => this.look(!this.looking) },
    });
  }

  layOut(withClock) {
    const [pad, facts, sight, ledger, events] = this.shown.map((each) => each.element);
    this.lookBox = h("div", { class: "looking", hidden: true });
    const help = h("details", { class: "panel" }, h("summary", {}, "Keyboard"), h("dl", {}, KEYS.map(([key, act]) => [h("dt", {}, key), h("dd", {}, act)])));
    return h("div", { class: withClock ? "episode" : "episode half" },
      h("div", { class: "stage" }, h("div", { class: "stack" }, this.stage, this.overlay), this.clock?.element ?? null, this.lookBox),
      h("div", { class: "side" }, facts, this.opinionBox, pad, ledger, sight, events),
      h("div", { class: "below" }, this.chartBox, this.map.element, withClock ? h("div", { class: "pair" }, originPanel(this.episode), help) : null));
  }

  show(frame) {
    this.frame = Math.min(this.episode.frames - 1, frame);
    const decision = lastBefore(this.episode.first_frames, this.frame);
    this.draw();
    for (const each of this.shown) each.show(this.frame, decision);
    for (const chart of this.charts) chart.show(this.frame);
    if (decision !== this.decision) {
      this.decision = decision;
      this.paintLook();
    }
  }

  draw() {
    this.screens.draw(this.stage.getContext("2d"), this.frame, [0, 0, 256, 240], () => this.draw());
  }

  ready(frame) {
    return frame >= this.episode.frames || this.screens.ready(frame);
  }

  addChart(title, options, names) {
    const { first_frames, frames } = this.episode;
    const chart = new Chart({ label: title, firstFrames: first_frames, frames, seek: (frame) => this.clock?.jump(frame), ...options });
    this.charts.push(chart);
    this.chartBox.append(panel(title, names ? legend(names) : null, chart.canvas));
  }

  addRewardChart() {
    const components = Object.values(this.episode.ledger.components);
    const sums = this.episode.actions.map((_, decision) => components.reduce((sum, values) => sum + values[decision], 0));
    this.addChart("Reward of each decision", { series: [sums], kind: "bars", height: 64, colours: () => colour("coin") });
  }

  setOpinion(opinion) {
    if (opinion.missing) return void message(this.opinionBox, `No model's opinion: ${opinion.missing}.`);
    const scores = scoresPanel(this.episode, opinion);
    this.shown.push(scores);
    const canLook = this.episode.saliency || this.sources.saliency;
    this.lookButton = h("button", { type: "button", "aria-pressed": "false", title: "key s", onclick: () => this.look(!this.looking) }, "Show where the model looks");
    replace(this.opinionBox, scores.element, h("p", { class: "note" }, `Opinion of ${opinion.model}.`), canLook ? this.lookButton : null);
    scores.show(this.frame, lastBefore(this.episode.first_frames, this.frame));
    const names = this.episode.action_names;
    const series = names.map((_, action) => opinion.scores.map((each) => each[action]));
    const kind = opinion.kind === "probabilities" ? "stack" : "lines";
    this.addChart(kind === "stack" ? "Probabilities of the actions" : "Values of the actions", { series, kind, colours: shade, height: 120 }, names.map((name, index) => [name, index]));
    this.addChart("Value and advantage", { series: [opinion.values, opinion.advantages], kind: "lines", colours: (index) => colour(index ? "brick" : "sky") }, [["value", "sky"], ["advantage", "brick"]]);
    for (const chart of this.charts) chart.show(this.frame);
    return undefined;
  }

  look(on) {
    if (!this.lookButton?.isConnected) return;
    this.looking = on;
    this.lookButton.setAttribute("aria-pressed", String(on));
    this.paintLook();
  }

  async paintLook() {
    const target = this.sight.overlay ?? this.overlay;
    this.lookBox.hidden = !this.looking;
    if (!this.looking) return void target.getContext("2d").clearRect(0, 0, target.width, target.height);
    const decision = this.decision ?? 0;
    const found = await this.findLook(decision);
    if (decision !== this.decision || !this.looking) return undefined; // the moment has passed meanwhile
    if (found.missing) return void say(this.lookBox, found.missing);
    const scale = target === this.overlay ? 1 : target.parentElement.firstElementChild.width / 256;
    const top = this.episode.seen.top * scale;
    paintSaliency(target, found, [0, top, 256 * scale, 240 * scale - top], [256 * scale, 240 * scale]);
    const shown = found.decision ?? decision;
    const where = shown === decision ? "" : ` This is decision ${whole(shown + 1)}: the file has every ${whole(this.episode.saliency.every)}th.`;
    say(this.lookBox, `Red speaks for ${this.episode.action_names[this.episode.actions[shown]]}, blue against it. Hiding the strongest part changes its score by ${number(found.largest, 3)}.${where}`);
    return undefined;
  }

  async findLook(decision) {
    const kept = this.episode.saliency;
    if (!kept) return this.sources.saliency(decision);
    const index = Math.floor(decision / kept.every);
    return { decision: index * kept.every, rows: kept.rows, columns: kept.columns, map: kept.maps[index], largest: kept.largest[index] };
  }
}
