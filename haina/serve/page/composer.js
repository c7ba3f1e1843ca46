// Where the reader writes. Enter sends, Shift+Enter begins a new line, Escape stops the answer; the key press that
// ends an input method's work does neither. What was written but not sent is kept for each conversation.

import { enters, find, fit } from "./dom.js";
import { say } from "./words.js";

const area = find("#ask");
const unsent = new Map();
let at = null; // the conversation whose draft is in the field

/** `send` gets the text; `stop` ends the answer; `busy` tells whether one is being made. */
export function begin({ send, stop, busy }) {
  const go = () => {
    if (busy()) stop();
    else if (area.value.trim()) {
      const text = area.value;
      write("");
      send(text);
    }
  };
  find("#composer").addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  area.addEventListener("input", () => fit(area));
  area.addEventListener("keydown", (event) => {
    if (!enters(event)) return;
    event.preventDefault();
    if (!busy()) go();
  });
  document.addEventListener("keydown", (event) => {
    const open = document.querySelector("dialog[open]");
    if (event.key === "Escape" && !event.isComposing && !open && busy()) stop();
  });
}

export function write(text) {
  area.value = text;
  fit(area);
}

/** The field belongs to another conversation now. */
export function turn(talk) {
  if (at) unsent.set(at, area.value);
  if (at !== talk) write(unsent.get(talk) ?? "");
  at = talk;
}

export function show(busy) {
  const send = find("#send");
  send.textContent = say(busy ? "stop" : "send");
  send.classList.toggle("stop", busy);
}

export const focus = () => area.focus();
