// The blocks and objects that an agent sees instead of pictures, drawn where the screen shows them: see reports/seen.py.
import { h, panel, say } from "./dom.js";

const SCALE = 2;
const CELL = 16 * SCALE;
const STATES = ["small", "tall", "fireball"];

export function tilesPanel(episode) {
  const { seen } = episode;
  const tables = Uint8Array.from(atob(seen.tables), (each) => each.charCodeAt(0));
  const canvas = h("canvas", { class: "seen tiles", width: 256 * SCALE, height: 240 * SCALE, role: "img", "aria-label": "The blocks and objects that the agent sees" });
  const overlay = h("canvas", { class: "overlay", "aria-hidden": "true" });
  const note = h("p", { class: "note" });
  let drawn = -1;
  return {
    element: panel("What the agent sees", h("div", { class: "stack" }, canvas, overlay), note),
    overlay,
    show(frame, decision) {
      if (decision === drawn) return;
      drawn = decision;
      const size = seen.rows * seen.columns;
      const table = tables.subarray(decision * size, (decision + 1) * size);
      const at = (row, column) => table[row * seen.columns + column];
      drawTiles(canvas.getContext("2d"), seen, at);
      say(note, `Mario is ${STATES[at(seen.status_row, 0)] ?? "small"}`);
    },
  };
}

function drawTiles(context, seen, at) {
  context.fillStyle = "#181a20";
  context.fillRect(0, 0, 256 * SCALE, 240 * SCALE);
  for (let row = 0; row < seen.block_rows; row += 1) {
    for (let column = 0; column < seen.columns; column += 1) {
      const tone = seen.blocks[at(row, column)];
      if (!tone) continue;
      context.fillStyle = tone;
      context.fillRect(column * CELL, seen.top * SCALE + row * CELL, CELL - 1, CELL - 1);
    }
  }
  for (let column = seen.columns - 1; column >= 0; column -= 1) { // Mario is drawn last
    if (at(seen.kind_row, column)) drawObject(context, seen, at, column);
  }
}

function drawObject(context, seen, at, column) {
  const kind = at(seen.kind_row, column);
  const [name, tone, width, bar] = seen.kinds[kind - 1];
  const left = at(seen.x_row, column) * SCALE;
  const y = at(seen.y_row, column) * SCALE;
  const isMario = kind === seen.mario;
  const tall = isMario && at(seen.status_row, 0) > 0;
  const above = (isMario ? (tall ? 0 : 16) : 8) * SCALE; // enemies are drawn from 8 pixels down
  context.fillStyle = context.strokeStyle = tone;
  if (bar) {
    const turn = (2 * Math.PI * (at(seen.angle_row, column) ^ 0x80)) / 32; // 0 is up, and it counts clockwise
    context.lineWidth = 8 * SCALE;
    context.beginPath();
    context.moveTo(left + 8 * SCALE, y + 8 * SCALE);
    context.lineTo(left + (8 + seen.bar_length * Math.sin(turn)) * SCALE, y + (8 - seen.bar_length * Math.cos(turn)) * SCALE);
    context.stroke();
  } else {
    context.fillRect(left, y + above, width * SCALE, (tall ? 32 : width > 16 ? 8 : 16) * SCALE);
  }
  context.font = "12px sans-serif";
  context.fillStyle = "#ececec";
  context.fillText(name, left, y + above - 4);
}
