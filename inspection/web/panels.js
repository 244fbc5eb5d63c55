// The panels beside the picture. Each has an element, and show(frame, decision), which is called for every frame that is shown.
import { colour, h, lastBefore, number, panel, replace, say, whole } from "./dom.js";
import { shade } from "./charts.js";

const BUTTONS = [["left", 0x40], ["up", 0x10], ["right", 0x80], ["down", 0x20], ["select", 0x04], ["start", 0x08], ["B", 0x02], ["A", 0x01]];

export function padPanel(episode) {
  const keys = BUTTONS.map(([name, bit]) => [bit, h("span", { class: `key key-${name}` }, name.length > 1 ? "" : name)]);
  const said = h("p", { class: "pressed" });
  return {
    element: panel("Buttons", h("div", { class: "pad", "aria-hidden": "true" }, keys.map(([, key]) => key)), said),
    show(frame, decision) {
      const pressed = episode.buttons[frame];
      for (const [bit, key] of keys) key.classList.toggle("on", Boolean(pressed & bit));
      const delay = episode.delays[decision] || 0;
      const late = delay ? `, ${delay} frame${delay === 1 ? "" : "s"} late` : "";
      say(said, `chosen: ${episode.action_names[episode.actions[decision]]}${late}`);
    },
  };
}

export function factsPanel(episode) {
  const names = ["x", "score", "coins", "clock", "lives", "size", "level", "distance"];
  const values = names.map(() => h("dd", {}));
  const facts = episode.facts;
  return {
    element: panel("State", h("dl", { class: "facts" }, names.map((name, index) => h("div", {}, h("dt", {}, name), values[index])))),
    show(frame) {
      const texts = [
        whole(facts.x_pos[frame]), whole(facts.score[frame]), whole(facts.coins[frame]), whole(facts.time[frame]),
        whole(facts.life[frame]), facts.status[frame], `${facts.world[frame]}-${facts.stage[frame]}`, whole(facts.distance[frame]),
      ];
      texts.forEach((text, index) => say(values[index], text));
    },
  };
}

// Bars with the score of every action at the decision.
export function scoresPanel(episode, opinion) {
  const shares = opinion.kind === "probabilities";
  const all = opinion.scores.flat();
  const low = shares ? 0 : Math.min(...bounds(all, 0));
  const high = shares ? 1 : Math.max(...bounds(all, 1));
  const rows = episode.action_names.map((name, index) => {
    const bar = h("span", { class: "bar" });
    bar.style.background = `var(--shade-${index})`;
    return { row: h("div", { class: "score" }, h("span", { class: "name" }, name), h("span", { class: "track" }, bar)), bar, text: h("span", { class: "n" }) };
  });
  for (const each of rows) each.row.append(each.text);
  const summary = h("p", { class: "note" });
  const element = panel(shares ? "Probability of each action" : "Value of each action", h("div", { class: "scores" }, rows.map((each) => each.row)), summary);
  return {
    element,
    show(frame, decision) {
      const scores = opinion.scores[decision];
      rows.forEach((each, index) => {
        const share = (scores[index] - low) / (high - low || 1);
        each.bar.style.width = `${(100 * share).toFixed(1)}%`;
        say(each.text, shares ? `${number(100 * scores[index], 1)} %` : number(scores[index], 2));
        each.row.classList.toggle("chosen", index === episode.actions[decision]);
      });
      say(summary, `value ${number(opinion.values[decision])}, advantage ${number(opinion.advantages[decision])}`);
    },
  };
}

function bounds(values, which) {
  return [values.reduce((found, value) => (which ? Math.max(found, value) : Math.min(found, value)), values[0])];
}

// What the agent sees: the last four pictures of its stack.
export function seenPanel(episode, strip) {
  const { width, height } = episode.seen;
  const canvas = h("canvas", {
    class: "seen", width: 2 * width + 2, height: 2 * height + 2, role: "img", "aria-label": "The four pictures that the agent sees, the newest at the lower right",
  });
  let wanted = -1;
  const draw = () => {
    const context = canvas.getContext("2d");
    for (let place = 0; place < 4; place += 1) {
      const box = [(place % 2) * (width + 2), Math.floor(place / 2) * (height + 2), width, height];
      strip.draw(context, Math.max(0, wanted - 3 + place), box, draw);
    }
  };
  return {
    element: panel("What the agent sees", h("div", { class: "stack" }, canvas)),
    show(frame, decision) {
      if (decision === wanted) return;
      wanted = decision;
      draw();
    },
  };
}

export function ledgerPanel(episode) {
  const { components, total, stored, adds_up, differences } = episode.ledger;
  const names = Object.keys(components);
  const sums = names.map((name) => {
    let sum = 0;
    return components[name].map((value) => (sum += value));
  });
  const now = names.map(() => h("td", { class: "n" }));
  const far = names.map(() => h("td", { class: "n" }));
  const totals = [h("td", { class: "n" }), h("td", { class: "n" })];
  const ends = sums.map((each) => each.at(-1));
  const rows = names.map((name, index) => h("tr", {}, h("th", { scope: "row" }, name), now[index], far[index], h("td", { class: "n" }, number(ends[index]))));
  const verdict = adds_up
    ? h("p", { class: "verdict passed" }, `✓ adds up to the recorded reward, ${number(stored)}`)
    : h("p", { class: "verdict failed" }, `✗ does not add up: ${number(total)} now, ${number(stored)} recorded`);
  const head = h("tr", {}, ["part", "decision", "so far", "whole"].map((text, index) => h("th", { scope: "col", class: index ? "n" : "" }, text)));
  return {
    element: panel("Reward",
      h("table", { class: "ledger" }, h("thead", {}, head),
        h("tbody", {}, rows, h("tr", { class: "total" }, h("th", { scope: "row" }, "reward"), totals[0], totals[1], h("td", { class: "n" }, number(total))))),
      verdict,
      differences.length ? h("div", { class: "callout" }, "Playing it again gives another episode than was recorded: ", h("ul", {}, differences.map((text) => h("li", {}, text)))) : null),
    show(frame, decision) {
      let each = 0;
      let all = 0;
      names.forEach((name, index) => {
        each += components[name][decision];
        all += sums[index][decision];
        say(now[index], number(components[name][decision]));
        say(far[index], number(sums[index][decision]));
      });
      say(totals[0], number(each));
      say(totals[1], number(all));
    },
  };
}

export function eventsPanel(episode, jump) {
  const buttons = episode.events.map((event) =>
    h("button", { type: "button", onclick: () => jump(event.frame) }, h("i", { class: `mark-${event.kind.replace(" ", "-")}` }), `${event.text}, frame ${whole(event.frame + 1)}`));
  const frames = episode.events.map((event) => event.frame);
  return {
    element: panel("Events", buttons.length ? h("ol", { class: "events" }, buttons.map((button) => h("li", {}, button))) : h("p", { class: "note" }, "None: no coin, no power-up, no pipe, and no end that the game knows of.")),
    show(frame) {
      const latest = frames.length && frames[0] <= frame ? lastBefore(frames, frame) : -1;
      buttons.forEach((button, index) => button.classList.toggle("on", index === latest));
    },
  };
}

// The picture of where a model looks: red speaks for the action that was taken, blue against it.
export function paintSaliency(canvas, found, box, size) {
  canvas.width = size[0];
  canvas.height = size[1];
  const bytes = Uint8Array.from(atob(found.map), (each) => each.charCodeAt(0));
  const values = new Int8Array(bytes.buffer);
  const small = new OffscreenCanvas(found.columns, found.rows);
  const picture = new ImageData(found.columns, found.rows);
  values.forEach((value, index) => {
    const shadeOf = value > 0 ? [255, 40, 20] : [40, 110, 255];
    picture.data.set([...shadeOf, Math.min(210, Math.abs(value) * 1.8)], index * 4);
  });
  small.getContext("2d").putImageData(picture, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, ...box);
}

export function originPanel(episode) {
  const rows = { ...episode.origin, ...episode.figures };
  const value = (each) => (typeof each === "number" ? number(each, Number.isInteger(each) ? 0 : 2) : String(each));
  const entries = Object.entries(rows).filter(([, each]) => each !== null && each !== undefined);
  return h("details", { class: "panel" }, h("summary", {}, "Record of the episode"),
    h("dl", {}, entries.map(([name, each]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, name === "id" || name === "seed" ? String(each) : value(each))])));
}

export function legend(names) {
  return h("p", { class: "legend" }, names.map(([name, tone]) => {
    const box = h("i", {});
    box.style.background = typeof tone === "number" ? shade(tone) : colour(tone);
    return h("span", {}, box, name);
  }));
}

export function message(box, text) {
  replace(box, h("p", { class: "callout" }, text));
}
