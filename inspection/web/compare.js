// Two episodes side by side from their start, with the first decision in which they differ.
import { Clock } from "./clock.js";
import { counted, h, lastBefore, whole } from "./dom.js";
import { ask, loadOpinion, pageHeader, sourcesOf } from "./requests.js";
import { openEpisode } from "./view.js";

export async function comparePage() {
  const wanted = new URLSearchParams(location.search);
  const keys = ["left", "right"].map((side) => wanted.get(side) ?? "");
  const form = h("form", { class: "panel filters", method: "get", action: "/compare" },
    keys.map((key, index) => h("label", {}, h("span", {}, index ? "and episode" : "Episode"), h("input", { type: "text", name: index ? "right" : "left", value: key, required: true, pattern: "[a-z0-9\\-]+", inputmode: "text" }))),
    h("button", { class: "main" }, "Compare"));
  const links = [h("a", { href: "/" }, "All episodes")];
  if (!keys.every((key) => /^[a-z0-9-]+$/.test(key))) {
    return [pageHeader("Two episodes side by side", "Name two episodes by their numbers.", ...links), h("main", { class: "wide list" }, form)];
  }
  const episodes = await Promise.all(keys.map((key) => ask(`/api/episodes/${key}`)));
  const views = episodes.map((episode, index) => openEpisode(episode, sourcesOf(keys[index]), { clock: false }));
  const longer = episodes[0].frames >= episodes[1].frames ? episodes[0] : episodes[1];
  const clock = new Clock({
    frames: longer.frames, rate: longer.frame_rate, firstFrames: longer.first_frames, events: [],
    show: (frame) => views.forEach((view) => view.show(frame)), ready: (frame) => views.every((view) => view.ready(frame)),
    describe: (frame) => episodes.map((episode) => `x ${episode.facts.x_pos[Math.min(frame, episode.frames - 1)]}`).join(" and "),
  });
  for (const view of views) view.clock = clock;
  const difference = firstDifference(...episodes);
  const said = h("p", { class: "callout" }, difference.text, " ",
    difference.frame === null ? null : h("button", { type: "button", onclick: () => clock.jump(difference.frame) }, "Go there"));
  const halves = views.map((view, index) => h("section", { class: "panel" }, h("h2", {}, h("a", { href: `/episodes/${keys[index]}` }, episodes[index].title)), view.element));
  clock.readAddress();
  views.forEach((view, index) => loadOpinion(keys[index], view));
  return [pageHeader("Two episodes side by side", null, ...links), h("main", { class: "wide list" }, form, said, h("div", { class: "panel shared" }, clock.element), h("div", { class: "halves" }, halves))];
}

// The first decision that was another, or began to hold at another frame.
export function firstDifference(left, right) {
  if (left.level !== right.level || left.frame_skip !== right.frame_skip || left.noop_frames !== right.noop_frames) {
    return { text: "They differ from their start: in the level, the frames of a decision, or the idle frames before the first one.", frame: null };
  }
  const name = (episode, index) => episode.action_names[episode.actions[index]];
  const both = Math.min(left.actions.length, right.actions.length);
  for (let index = 0; index < both; index += 1) {
    const delays = [left, right].map((episode) => episode.delays[index] ?? 0);
    if (name(left, index) === name(right, index) && delays[0] === delays[1]) continue;
    const acts = [left, right].map((episode, side) => `${name(episode, index)}${delays[side] ? `, ${delays[side]} frame${delays[side] === 1 ? "" : "s"} late,` : ""}`);
    return { text: `They first differ in decision ${whole(index + 1)}: ${acts[0]} on the left, ${acts[1]} on the right.`, frame: left.first_frames[index] };
  }
  if (left.actions.length === right.actions.length) return { text: "They are the same, decision by decision.", frame: null };
  return { text: `They are the same in their first ${counted(both, "decision")}; then one of them has ended.`, frame: left.first_frames[lastBefore(left.first_frames, left.first_frames[both - 1])] };
}
