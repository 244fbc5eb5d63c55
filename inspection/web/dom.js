// Elements of the page. Text only ever becomes a text node, so nothing that came from data is read as HTML.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

// Sets text only where it has changed, since pages are redrawn sixty times a second.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function number(value, digits = 2) {
  if (!Number.isFinite(value)) return "";
  const rounded = Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value;
  return rounded.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: Math.min(digits, 2) });
}

export function whole(value) {
  return value.toLocaleString("en");
}

// "1 episode", "2 episodes".
export function counted(value, word) {
  return `${whole(value)} ${word}${value === 1 ? "" : "s"}`;
}

export function clockTime(frame, rate) {
  const seconds = frame / rate;
  const rest = (seconds % 60).toFixed(2).padStart(5, "0");
  return `${Math.floor(seconds / 60)}:${rest}`;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// The index of the last of the ascending numbers that is not above the wanted one.
export function lastBefore(numbers, wanted) {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (numbers[middle] <= wanted) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h3", {}, title), ...children);
}
