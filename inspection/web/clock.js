// The controls below the picture: time, speed, keyboard. They know frames, and nothing of what is shown.
import { clockTime, h, lastBefore, say, whole } from "./dom.js";

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4, 8];
const SECOND = 60;

export class Clock {
  // show(frame) draws; ready(frame) says whether it could be drawn at once; describe(frame) tells where that is.
  constructor({ frames, rate, firstFrames, events, show, ready, describe, keys = {} }) {
    Object.assign(this, { frames, rate, firstFrames, events, show, ready, describe, keys });
    this.frame = 0;
    this.speed = 1;
    this.playing = false;
    this.build();
    document.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("hashchange", () => this.readAddress());
  }

  build() {
    const button = (label, text, act, hint) =>
      h("button", { type: "button", "aria-label": label, title: hint ? `${label} (${hint})` : label, onclick: act }, text);
    this.playButton = button("Play", "▶", () => this.toggle(), "space");
    this.playButton.className = "main";
    this.slider = h("input", {
      type: "range", min: 0, max: this.frames - 1, value: 0, step: 1, class: "time", "aria-label": "Moment of the episode",
      oninput: () => this.seek(Number(this.slider.value)),
    });
    this.speedChoice = h("select", { "aria-label": "Speed", onchange: () => this.setSpeed(Number(this.speedChoice.value)) },
      SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
    this.time = h("output", { class: "now", "aria-live": "off" });
    this.copied = button("Copy a link to this moment", "Link", () => this.copyLink());
    this.element = h("div", { class: "clock" },
      this.marks(), this.slider,
      h("div", { class: "row", role: "group", "aria-label": "Playback" },
        button("One decision back", "«", () => this.step(-1, true), "left arrow"),
        button("One frame back", "‹", () => this.step(-1), ","),
        this.playButton,
        button("One frame on", "›", () => this.step(1), "."),
        button("One decision on", "»", () => this.step(1, true), "right arrow"),
        this.speedChoice, this.time, this.copied));
  }

  marks() {
    const box = h("div", { class: "marks", "aria-hidden": "true" });
    for (const event of this.events) {
      const mark = h("i", { class: `mark-${event.kind.replace(" ", "-")}`, title: event.text });
      mark.style.left = `${(100 * event.frame) / Math.max(1, this.frames - 1)}%`;
      box.append(mark);
    }
    return box;
  }

  seek(frame, keepPlaying = false) {
    this.frame = Math.min(this.frames - 1, Math.max(0, Math.round(frame)));
    if (this.playing && !keepPlaying) this.begin();
    this.draw();
  }

  draw() {
    this.show(this.frame);
    this.slider.value = String(this.frame);
    const decision = lastBefore(this.firstFrames, this.frame);
    say(this.time, `${clockTime(this.frame, this.rate)} · decision ${whole(decision + 1)} · frame ${whole(this.frame + 1)}`);
    this.slider.setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${this.frames}, ${this.describe(this.frame)}`);
    if (!this.playing) this.writeAddress();
  }

  step(count, decisions = false) {
    this.pause();
    if (!decisions) return this.seek(this.frame + count);
    const decision = lastBefore(this.firstFrames, this.frame);
    const back = count < 0 && this.frame > this.firstFrames[decision] ? 0 : count;
    const wanted = Math.min(this.firstFrames.length - 1, Math.max(0, decision + back));
    return this.seek(decision + back >= this.firstFrames.length ? this.frames - 1 : this.firstFrames[wanted]);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.playing = true;
    this.begin();
    this.label();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.label();
    this.writeAddress();
  }

  label() {
    this.playButton.textContent = this.playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  begin() {
    this.since = performance.now();
    this.from = this.frame;
  }

  tick(now) {
    if (!this.playing) return;
    const wanted = Math.floor(this.from + ((Math.max(now, this.since) - this.since) / 1000) * this.rate * this.speed);
    if (wanted > this.frame) {
      const next = Math.min(this.frames - 1, wanted);
      this.seek(next, true);
      if (!this.ready(next)) this.begin(); // the picture is on its way: time waits for it
      if (next === this.frames - 1) return void this.pause();
    }
    requestAnimationFrame((later) => this.tick(later));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.speedChoice.value = String(speed);
    this.begin();
  }

  faster(by) {
    const index = SPEEDS.indexOf(this.speed) + by;
    if (SPEEDS[index]) this.setSpeed(SPEEDS[index]);
  }

  toEvent(direction) {
    const frames = this.events.map((event) => event.frame);
    const found = direction > 0 ? frames.find((frame) => frame > this.frame) : frames.findLast((frame) => frame < this.frame);
    if (found !== undefined) this.jump(found);
  }

  jump(frame) {
    this.pause();
    this.seek(frame);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.element.isConnected) return;
    const typing = event.target.closest?.("select, textarea, input:not([type=range]), summary, a");
    if (typing || (event.key === " " && event.target.closest?.("button"))) return;
    const acts = {
      " ": () => this.toggle(), k: () => this.toggle(),
      ArrowLeft: () => (event.shiftKey ? this.jump(this.frame - SECOND) : this.step(-1, true)),
      ArrowRight: () => (event.shiftKey ? this.jump(this.frame + SECOND) : this.step(1, true)),
      ",": () => this.step(-1), ".": () => this.step(1), "<": () => this.faster(-1), ">": () => this.faster(1),
      Home: () => this.jump(0), End: () => this.jump(this.frames - 1), e: () => this.toEvent(1), E: () => this.toEvent(-1),
      ...this.keys,
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  readAddress() {
    const found = /^#frame=(\d{1,7})$/.exec(location.hash);
    this.pause();
    if (location.hash === "#end") this.seek(this.frames - 1);
    else this.seek(found ? Number(found[1]) - 1 : this.frame);
  }

  writeAddress() {
    try {
      history.replaceState(history.state, "", `#frame=${this.frame + 1}`);
    } catch {
      // A page that is shown within another, as MLflow shows artifacts, may not be allowed to change its address.
    }
  }

  async copyLink() {
    this.writeAddress();
    try {
      await navigator.clipboard.writeText(location.href);
      this.copied.textContent = "Copied";
    } catch {
      this.copied.textContent = "In the address bar"; // a browser may refuse the clipboard
    }
    setTimeout(() => { this.copied.textContent = "Link"; }, 1500);
  }
}
