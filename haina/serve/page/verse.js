// The sheet: a poem in columns or lines, its tones and rhymes, and the characters that are selected on it.
// It knows how a poem looks and what was clicked; what is asked of the server it does not.

import { find, make } from "./dom.js";
import { say } from "./words.js";

const sheet = find("#sheet");
const verse = find("#verse");
const LEVEL = "○△";
let places = []; // of each character: its option, its line
let focus = 0;
let changed = () => {};

/** `told` is called when what is selected has changed. */
export function onSelect(told) { changed = told; }

export const selected = () => places.flatMap(({ option }, at) => (option.ariaSelected === "true" ? [at] : []));

export function unselect() {
  for (const { option } of places) option.ariaSelected = "false";
  changed();
}

/** A poem as /v1/poems tells it. */
export function show(poem, title) {
  find("#title").textContent = title || poem.form;
  sheet.classList.toggle("tune", !/^[五七]言/u.test(poem.form));
  places = [];
  focus = 0;
  verse.replaceChildren(...poem.lines.map((line, number) => group(line, number, poem)));
  if (places.length) places[0].option.tabIndex = 0;
  changed();
}

function group(line, number, poem) {
  const chars = [...line.text];
  const tones = [...line.tones];
  const made = make("div", { role: "group", className: "line", "aria-label": say("poem_line", number + 1) });
  chars.slice(0, tones.length).forEach((char, i) => {
    const rhymed = Boolean(line.rhyme) && i === tones.length - 1;
    made.append(option(char, tones[i], rhymed, number, poem.misread.includes(char)));
  });
  const mark = chars.slice(tones.length).join("");
  if (mark) made.append(make("i", { textContent: mark, "aria-hidden": "true" }));
  made.classList.toggle("ends", mark === "。");
  return made;
}

function option(char, tone, rhymed, line, misread) {
  const at = places.length;
  const said = tone === "⊙" ? "" : say(LEVEL.includes(tone) ? "poem_level" : "poem_oblique");
  const made = make("span", {
    role: "option", tabIndex: -1, ariaSelected: "false", className: [rhymed && "rhyme", misread && "misread"].filter(Boolean).join(" "),
    "aria-label": [char, said, rhymed ? say("poem_rhymes") : ""].filter(Boolean).join(" "), onclick: () => toggle(at),
  }, make("ruby", {}, char, make("rt", { textContent: tone })));
  places.push({ option: made, line });
  return made;
}

/** Select, or not any more, what stands around a place: the character, its line or its couplet. */
function toggle(at) {
  const unit = find("#unit").value;
  const size = { char: 0, line: 1, couplet: 2 }[unit];
  const of = (place) => (size ? Math.floor(places[place].line / size) : place);
  const now = places[at].option.ariaSelected !== "true";
  places.forEach(({ option }, other) => { if (of(other) === of(at)) option.ariaSelected = String(now); });
  go(at);
  changed();
}

function go(at) {
  places[focus].option.tabIndex = -1;
  focus = Math.max(0, Math.min(places.length - 1, at));
  places[focus].option.tabIndex = 0;
  places[focus].option.focus();
}

/** The place beside that in the next line, or the one before. */
function beside(step) {
  const line = places[focus].line;
  const column = focus - places.findIndex((place) => place.line === line);
  const start = places.findIndex((place) => place.line === line + step);
  if (start < 0) return focus;
  const length = places.filter((place) => place.line === line + step).length;
  return start + Math.min(column, length - 1);
}

verse.addEventListener("keydown", (event) => {
  const across = sheet.classList.contains("across");
  const moves = across
    ? { ArrowRight: () => focus + 1, ArrowLeft: () => focus - 1, ArrowDown: () => beside(1), ArrowUp: () => beside(-1) }
    : { ArrowDown: () => focus + 1, ArrowUp: () => focus - 1, ArrowLeft: () => beside(1), ArrowRight: () => beside(-1) };
  moves.Home = () => 0;
  moves.End = () => places.length - 1;
  if (event.key === " " || event.key === "Enter") toggle(focus);
  else if (moves[event.key]) go(moves[event.key]());
  else return;
  event.preventDefault();
});
