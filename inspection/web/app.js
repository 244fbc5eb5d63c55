// The pages of the server: the list, one episode, two side by side, and a model that plays now.
import { h, lastBefore, replace } from "./dom.js";
import { ask, loadOpinion, pageHeader, sourcesOf } from "./requests.js";
import { comparePage } from "./compare.js";
import { handPage } from "./hand.js";
import { listPage } from "./list.js";
import { livePage } from "./live.js";
import { playPage } from "./play.js";
import { openEpisode } from "./view.js";

async function episodePage(key) {
  const episode = await ask(`/api/episodes/${key}`);
  const shown = openEpisode(episode, sourcesOf(key));
  document.title = episode.title;
  shown.header.firstElementChild.append(h("p", { class: "actions" },
    h("a", { href: "/" }, "All episodes"), h("a", { href: `/compare?left=${key}` }, "Compare with another"),
    h("a", { href: "/hand", onclick: (event) => takeOver(event, key, episode, shown.clock) }, "Take over from this moment"),
    h("a", { href: `/api/episodes/${key}/file` }, "Save as a file")));
  shown.clock.readAddress();
  loadOpinion(key, shown);
  return [shown.header, h("main", { class: "wide" }, shown.element)];
}

function takeOver(event, key, episode, clock) {
  event.preventDefault();
  clock.pause();
  location.assign(`/hand?${new URLSearchParams({ episode: key, decision: lastBefore(episode.first_frames, clock.frame) })}`);
}

async function route() {
  const page = document.getElementById("page");
  const key = /^\/episodes\/([a-z0-9-]+)$/.exec(location.pathname)?.[1];
  const pages = { "/": listPage, "/compare": comparePage, "/play": playPage, "/hand": handPage, "/live": livePage };
  try {
    replace(page, await (key ? episodePage(key) : pages[location.pathname]()));
  } catch (error) {
    replace(page, pageHeader("This cannot be shown"), h("main", { class: "wide" },
      h("p", { class: "callout", role: "alert" }, error.message), h("p", {}, h("a", { href: "/" }, "All episodes"))));
  }
}

route();
