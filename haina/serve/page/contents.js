// The table of contents: all conversations, the last one first, by day. On a narrow screen it lies over the page.

import { find, make, tongue } from "./dom.js";
import { say } from "./words.js";

const aside = find("#contents");
const opener = find("#open-contents");

export function begin() {
  opener.addEventListener("click", () => toggle(!aside.classList.contains("open")));
  document.addEventListener("click", (event) => {
    if (!aside.contains(event.target) && event.target !== opener) toggle(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !aside.classList.contains("open")) return;
    toggle(false);
    opener.focus();
  });
}

export function toggle(open) {
  aside.classList.toggle("open", open);
  opener.setAttribute("aria-expanded", String(open));
  if (open) find("#new").focus();
}

/** Set the list; `current` is the id of the conversation in view. */
export function show(talks, current) {
  const day = new Date().setHours(0, 0, 0, 0) / 1000;
  const items = [];
  let part = "";
  for (const talk of talks) {
    const name = talk.changed_s >= day ? "today" : "earlier";
    if (name !== part) items.push(make("li", { className: "part", textContent: say(name) }));
    part = name;
    items.push(item(talk, talk.id === current));
  }
  if (!talks.length) items.push(make("li", { className: "part", textContent: say("nothing_yet") }));
  find("#talks").replaceChildren(...items);
  find("#all").hidden = !talks.length;
}

function item(talk, current) {
  const link = make("a", { href: `#${talk.id}`, textContent: talk.title || say("untitled"), lang: tongue(talk.title), dir: "auto" });
  if (current) link.setAttribute("aria-current", "true");
  return make("li", {}, link);
}
