// A model plays one episode here and now, which is stored nowhere.
import { h, replace } from "./dom.js";
import { ask, pageHeader } from "./requests.js";

const PROTOCOLS = [
  ["greedy", "greedy: the best action"], ["stochastic", "stochastic: as in training"], ["sticky", "sticky actions"],
  ["sticky_decisions", "sticky decisions"], ["noop", "one idle frame first"], ["random", "random actions"],
];

export async function playPage() {
  const { models } = await ask("/api/models");
  const state = h("p", { class: "note", "aria-live": "polite" });
  const button = h("button", { class: "main" }, "Play");
  const field = (label, control) => h("label", {}, h("span", {}, label), control);
  const form = h("form", { class: "panel filters", onsubmit: (event) => play(event, form, button, state) },
    field("Model", h("input", { type: "text", name: "model", list: "models", required: true, value: models[0] ?? "" })),
    h("datalist", { id: "models" }, models.map((name) => h("option", { value: name }))),
    field("Protocol", h("select", { name: "protocol" }, PROTOCOLS.map(([value, text]) => h("option", { value }, text)))),
    field("Seed", h("input", { type: "number", name: "seed", value: 0, min: 0, max: 2147483647 })),
    field("Level, its own if empty", h("input", { type: "text", name: "level", pattern: "[1-8]-[1-4]", placeholder: "1-1" })), button);
  return [pageHeader("Let a model play now", "It plays one episode, which is stored nowhere and counts nowhere.", h("a", { href: "/" }, "All episodes")),
    h("main", { class: "wide list" }, form, state,
      h("p", { class: "note" }, "A model is a name in models/, a path below this home, a run id, or models:/NAME@ALIAS."))];
}

async function play(event, form, button, state) {
  event.preventDefault();
  button.disabled = true;
  state.textContent = "It plays …";
  try {
    const { key } = await ask("/api/play", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    location.assign(`/episodes/${key}`);
  } catch (error) {
    replace(state, h("span", { role: "alert" }, error.message));
  }
  button.disabled = false;
}
