// A person plays on from a moment of an episode: one of the agent's actions for each decision.
import { h, replace, say, whole } from "./dom.js";
import { Strip } from "./film.js";
import { ask, pageHeader, sourcesOf } from "./requests.js";

const HELD = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", x: "A", l: "A", z: "B", k: "B", Enter: "start", Shift: "B", " ": "A",
};
const FRAME_MS = 1000 / 60.0988;
const HEIGHT = 240;

export async function handPage() {
  const wanted = new URLSearchParams(location.search);
  const key = wanted.get("episode") ?? "";
  const decision = wanted.get("decision") ?? "0";
  const play = await send("/api/hand", { key, decision });
  return new Hand(play, key, Number(decision)).page();
}

function send(address, values) {
  return ask(address, { method: "POST", body: new URLSearchParams(values) });
}

class Hand {
  constructor(play, key, decision) {
    Object.assign(this, { play, key, decision });
    this.held = new Set();
    this.running = false;
    this.ended = false;
    this.stage = h("canvas", { class: "screen", width: 256, height: HEIGHT, role: "img", "aria-label": "The game" });
    this.state = h("p", { class: "note", "aria-live": "polite" }, "The episode has been played again up to your first decision. Start when you are ready.");
    this.start = h("button", { type: "button", class: "main", onclick: () => this.toggle() }, "Start");
    this.back = h("button", { type: "button", onclick: () => this.handBack() }, "Let the model go on to the end");
    document.addEventListener("keydown", (event) => this.press(event, true));
    document.addEventListener("keyup", (event) => this.press(event, false));
    window.addEventListener("blur", () => this.held.clear());
    document.addEventListener("visibilitychange", () => this.stop());
  }

  page() {
    const names = [...new Set(this.play.actions.flat())].filter((name) => name !== "NOOP");
    const touch = h("div", { class: "row touch", role: "group", "aria-label": "Buttons" }, names.map((name) => {
      const button = h("button", { type: "button", "aria-label": `Hold ${name}` }, name);
      button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); this.held.add(name); });
      for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, () => this.held.delete(name));
      return button;
    }));
    this.showMoment();
    return [
      pageHeader("Take over", `From decision ${whole(this.decision + 1)} on you play. The episode is marked as played by hand; it is stored nowhere and counts nowhere.`,
        h("a", { href: `/episodes/${this.key}` }, "Back to the episode")),
      h("main", { class: "wide list hand" }, h("div", { class: "stack" }, this.stage), h("div", { class: "row" }, this.start, this.back), touch, this.state,
        h("p", { class: "note" }, "Arrows move, x or space is A (jump), z or shift is B (run), p pauses. The agent's actions are all there is: of the buttons that you hold, those are pressed that one of them has.")),
    ];
  }

  // What the game shows before the first decision by hand.
  async showMoment() {
    const { screens, first_frames } = await ask(`/api/episodes/${this.key}`);
    const frame = Math.max(0, first_frames[this.decision] - 1);
    const strip = new Strip(screens, sourcesOf(this.key).screen);
    const draw = () => this.running || strip.draw(this.stage.getContext("2d"), frame, [0, 0, 256, HEIGHT], draw);
    draw();
  }

  press(event, down) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.stage.isConnected) return;
    if (event.key === "p" && down && !event.repeat) return void this.toggle();
    const name = HELD[event.key] ?? HELD[event.key.toLowerCase()];
    if (!name || !this.running) return;
    event.preventDefault();
    if (down) this.held.add(name);
    else this.held.delete(name);
  }

  // The action with the most of the held buttons, and no other.
  action() {
    let best = 0;
    let most = -1;
    this.play.actions.forEach((buttons, index) => {
      const own = buttons.filter((name) => name !== "NOOP");
      if (own.length > most && own.every((name) => this.held.has(name))) {
        best = index;
        most = own.length;
      }
    });
    return best;
  }

  toggle() {
    if (this.ended) return;
    if (this.running) return void this.stop();
    this.running = true;
    this.start.textContent = "Pause";
    this.start.blur(); // space is a button of the game now
    this.run();
  }

  stop() {
    this.running = false;
    if (!this.ended) this.start.textContent = "Go on";
    this.held.clear();
  }

  // While the frames of a decision are shown, the next one is played.
  async run() {
    let shown = Promise.resolve();
    try {
      while (this.running && !this.ended) {
        const step = await send(`/api/hand/${this.play.name}`, { action: this.action() });
        await shown;
        shown = this.show(step);
        if (step.ended) this.ended = true;
      }
      await shown;
      if (this.ended) this.finish();
    } catch (error) {
      this.stop();
      replace(this.state, h("span", { role: "alert" }, error.message));
    }
  }

  async show(step) {
    if (!step.frames) return;
    const sheet = new Image();
    sheet.src = step.sheet;
    await sheet.decode();
    const context = this.stage.getContext("2d");
    const begun = performance.now();
    for (let frame = 0; frame < step.frames; frame += 1) {
      while (performance.now() - begun < frame * FRAME_MS) await new Promise((go) => requestAnimationFrame(go));
      context.drawImage(sheet, 0, frame * HEIGHT, 256, HEIGHT, 0, 0, 256, HEIGHT);
    }
    say(this.state, `x ${whole(step.facts.x_pos)} · clock ${step.facts.time} · score ${whole(step.facts.score)} · lives ${step.facts.life}`);
  }

  async handBack() {
    this.stop();
    this.back.disabled = true;
    say(this.state, "The model plays on …");
    try {
      await send(`/api/hand/${this.play.name}`, { hand_back: "yes" });
      location.assign(`/episodes/${this.play.name}`);
    } catch (error) {
      replace(this.state, h("span", { role: "alert" }, error.message));
      this.back.disabled = false;
    }
  }

  finish() {
    this.start.disabled = this.back.disabled = true;
    replace(this.state, "The episode has ended. ", h("a", { href: `/episodes/${this.play.name}` }, "Look into it"));
  }
}
