// Charts over the decisions of an episode, on a canvas each. A click or a drag leads to the moment.
import { colour, h, lastBefore, number } from "./dom.js";

const SHADES = ["sky", "brick", "pipe", "coin", "plum", "castle", "a6", "a7", "a8", "a9", "a10", "a11"];

export function shade(index) {
  return colour(SHADES[index % SHADES.length]);
}

export class Chart {
  // series: arrays of one number a decision. kind: "stack" (shares of 1), "lines" or "bars".
  constructor({ label, series, kind, colours, height = 96, firstFrames, frames, seek }) {
    Object.assign(this, { series, kind, colours, firstFrames, frames, pixelHeight: height });
    this.canvas = h("canvas", { class: "chart", role: "img", "aria-label": label });
    this.canvas.style.height = `${height}px`;
    this.frame = 0;
    const go = (event) => {
      const bounds = this.canvas.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width));
      seek(Math.round(share * (this.frames - 1)));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && go(event));
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    let low = kind === "bars" ? 0 : Infinity;
    let high = kind === "bars" ? 0 : -Infinity;
    for (const values of series) {
      for (const value of values) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    this.low = kind === "stack" ? 0 : low;
    this.high = kind === "stack" ? 1 : high > low ? high : low + 1;
  }

  // Everything but the marker of the moment is drawn once for each size.
  paint() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    const picture = document.createElement("canvas");
    picture.width = Math.round(width * scale);
    picture.height = Math.round(this.pixelHeight * scale);
    const context = picture.getContext("2d");
    context.scale(scale, scale);
    this.zero(context, width);
    if (this.kind === "stack") this.stack(context, width);
    else this.series.forEach((values, index) => this.line(context, width, values, this.colours(index)));
    if (this.kind !== "stack") this.range(context);
    this.drawn = picture;
    this.canvas.width = picture.width;
    this.canvas.height = picture.height;
    this.show(this.frame);
  }

  show(frame) {
    this.frame = frame;
    if (!this.drawn) return;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.drawn, 0, 0);
    const x = (frame / Math.max(1, this.frames - 1)) * (this.canvas.width - 2);
    context.fillStyle = colour("ink");
    context.fillRect(Math.round(x), 0, 2, this.canvas.height);
  }

  x(decision, width) {
    const frame = decision < this.firstFrames.length ? this.firstFrames[decision] : this.frames;
    return (frame / this.frames) * width;
  }

  y(value) {
    return this.pixelHeight - 2 - ((value - this.low) / (this.high - this.low)) * (this.pixelHeight - 4);
  }

  // The highest and the lowest value, as figures at the left.
  range(context) {
    context.font = "11px ui-monospace, monospace";
    context.textBaseline = "top";
    [this.high, this.low].forEach((value, index) => {
      const text = number(value);
      const y = index ? this.pixelHeight - 13 : 1;
      context.fillStyle = colour("card");
      context.fillRect(0, y, context.measureText(text).width + 4, 12);
      context.fillStyle = colour("muted");
      context.fillText(text, 2, y);
    });
  }

  zero(context, width) {
    if (this.kind === "stack" || this.low > 0 || this.high < 0) return;
    context.fillStyle = colour("line");
    context.fillRect(0, this.y(0), width, 1);
  }

  stack(context, width) {
    const decisions = this.series[0].length;
    // No more columns than pixels: a column shows the decision that begins there.
    for (let pixel = 0; pixel < width; pixel += 1) {
      const decision = lastBefore(this.firstFrames, (pixel / width) * this.frames);
      if (decision >= decisions) break;
      let top = this.pixelHeight;
      this.series.forEach((values, index) => {
        const height = values[decision] * this.pixelHeight;
        context.fillStyle = this.colours(index);
        context.fillRect(pixel, top - height, 1, height + 0.5);
        top -= height;
      });
    }
  }

  line(context, width, values, stroke) {
    if (this.kind === "bars") {
      context.fillStyle = stroke;
      values.forEach((value, index) => {
        const left = this.x(index, width);
        const thickness = Math.max(1, this.x(index + 1, width) - left - 0.5);
        context.fillRect(left, Math.min(this.y(0), this.y(value)), thickness, Math.abs(this.y(value) - this.y(0)));
      });
      return;
    }
    context.strokeStyle = stroke;
    context.lineWidth = 1.5;
    context.beginPath();
    values.forEach((value, index) => context.lineTo(this.x(index, width), this.y(value)));
    context.stroke();
  }
}
