// The page of one episode in a file of its own.
import { h } from "./dom.js";
import { openEpisode } from "./view.js";

const given = JSON.parse(document.getElementById("episode").textContent);
const shown = openEpisode(given, {
  screen: (sheet) => given.screens.sources[sheet],
  seen: (sheet) => given.seen.sources[sheet],
  map: (level) => given.maps[level].source,
});
document.getElementById("page").replaceWith(
  h("div", { id: "page" }, shown.header, h("main", { class: "wide" }, shown.element)),
);
shown.clock.readAddress();
