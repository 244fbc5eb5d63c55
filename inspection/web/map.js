// The way through the level on a picture of it. An episode of the full game has a map for each of its levels.
import { h, panel, say } from "./dom.js";

const MAP_POINTS = 2000; // of the drawn way, at most: it is drawn again with every frame
const MAP_ROWS = 208;

// address(level, rom) is that of a picture, or null: then the way is drawn on nothing.
export function mapPanel(episode, address, jump) {
  return new LevelMap(episode, address, jump);
}

class LevelMap {
  constructor(episode, address, jump) {
    Object.assign(this, { episode, address });
    this.every = Math.max(1, Math.floor(episode.frames / MAP_POINTS));
    this.image = h("img", { alt: "", hidden: true });
    this.canvas = h("canvas", { role: "img", "aria-label": "The way through the level; a click leads to the moment" });
    this.note = h("p", { class: "note", "aria-live": "polite" });
    this.level = null;
    this.frame = 0;
    this.image.addEventListener("load", () => this.fit(this.image.naturalWidth, true));
    this.image.addEventListener("error", () => this.fit(0, false));
    this.canvas.addEventListener("click", (event) => jump(this.nearest(event)));
    this.element = panel("Way through the level",
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Map of the level" }, h("div", { class: "map" }, this.image, this.canvas)), this.note);
  }

  levelOf(frame) {
    return `${this.episode.facts.world[frame]}-${this.episode.facts.stage[frame]}`;
  }

  // Of each frame, whether it is on the map of the level.
  place() {
    const { area } = this.episode.facts;
    const own = this.episode.maps[this.level].area;
    this.on = Uint8Array.from(area, (each, frame) => each === own && this.levelOf(frame) === this.level);
  }

  top(frame) {
    return Math.max(0, 231 - this.episode.facts.y_pos[frame]); // the map leaves out the 32 rows of the status bar
  }

  show(frame) {
    this.frame = frame;
    const level = this.levelOf(frame);
    if (level !== this.level) {
      this.level = level;
      this.place();
      const source = this.address(level, this.episode.rom);
      if (source) this.image.src = source;
      else this.fit(0, false);
    }
    this.draw();
  }

  // With a picture or without, the canvas is at least as wide as the way.
  fit(width, pictured) {
    let farthest = 0;
    for (let frame = 0; frame < this.episode.frames; frame += 1) {
      if (this.on[frame]) farthest = Math.max(farthest, this.episode.facts.x_pos[frame]);
    }
    this.pictured = pictured;
    this.image.hidden = !pictured;
    this.canvas.width = Math.max(width, farthest + 64, 256);
    this.canvas.height = MAP_ROWS;
    const box = this.canvas.parentElement;
    box.style.aspectRatio = `${this.canvas.width} / ${MAP_ROWS}`;
    box.style.minWidth = `${Math.min(640, this.canvas.width)}px`;
    box.style.maxWidth = `${2 * this.canvas.width}px`;
    this.image.style.width = `${(100 * width) / this.canvas.width}%`;
    this.draw();
  }

  draw() {
    if (this.pictured === undefined) return; // the picture is on its way
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, MAP_ROWS);
    this.way(context, this.episode.frames - 1, this.pictured ? "rgba(255,255,255,.75)" : "#8a8794");
    this.way(context, this.frame, "#d8261c");
    const on = this.on[this.frame];
    if (on) this.dot(context);
    const missing = this.pictured ? "" : "There is no picture of this level. ";
    say(this.note, missing + (on ? "" : "Now in another area than the one on the map."));
  }

  way(context, last, stroke) {
    const { x_pos } = this.episode.facts;
    context.strokeStyle = stroke;
    context.lineWidth = 4;
    context.beginPath();
    let before = null;
    for (let frame = 0; frame <= last; frame += this.every) {
      const on = this.on[frame];
      // After another area, a death or a maze the way goes on elsewhere.
      const joined = on && before !== null && Math.abs(x_pos[frame] - x_pos[before]) < 64 + 8 * this.every;
      if (on) context[joined ? "lineTo" : "moveTo"](x_pos[frame] + 8, this.top(frame));
      before = on ? frame : null;
    }
    context.stroke();
  }

  dot(context) {
    context.fillStyle = "#fff";
    context.strokeStyle = "#d8261c";
    context.beginPath();
    context.arc(this.episode.facts.x_pos[this.frame] + 8, this.top(this.frame), 9, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }

  nearest(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * this.canvas.width;
    const away = (frame) => (this.on[frame] ? Math.abs(this.episode.facts.x_pos[frame] + 8 - x) : Infinity);
    let nearest = this.frame;
    for (let frame = 0; frame < this.episode.frames; frame += 1) {
      if (away(frame) < away(nearest)) nearest = frame;
    }
    return nearest;
  }
}
