// Requests to the server, and what its pages have in common.
import { h } from "./dom.js";

export async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. Does `mario inspect` still run?");
  }
  if (response.status === 401) {
    location.reload(); // the server has been started again and asks for its secret
    throw new Error("The server asks for its secret.");
  }
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

export function pageHeader(title, detail, ...links) {
  document.title = title;
  return h("header", { class: "slim" }, h("div", {}, h("p", { class: "eyebrow" }, "train-mario"), h("h1", {}, title),
    detail ? h("p", { class: "detail" }, detail) : null, links.length ? h("p", { class: "actions" }, links) : null));
}

export function mapAddress(level, rom = "vanilla") {
  return `/api/maps/${rom}/${level}.webp`;
}

export function sourcesOf(key) {
  const root = `/api/episodes/${key}`;
  return {
    screen: (sheet) => `${root}/screens/${sheet}.webp`,
    seen: (sheet) => `${root}/seen/${sheet}.webp`,
    map: mapAddress,
    saliency: (decision) => ask(`${root}/saliency/${decision}`).catch((error) => ({ missing: error.message })),
  };
}

export async function loadOpinion(key, view) {
  try {
    view.setOpinion(await ask(`/api/episodes/${key}/opinion`));
  } catch (error) {
    view.setOpinion({ missing: error.message });
  }
}
