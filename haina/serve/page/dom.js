// Small things every part of the page needs: elements, the Enter key, copying, a question to the reader.

import { say } from "./words.js";

export const find = (selector) => document.querySelector(selector);

/** An element with properties and children; names with a dash are attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export const button = (words, onclick, properties = {}) =>
  make("button", { type: "button", className: "quiet", textContent: words, onclick, ...properties });

/** Whether a key press is Enter and means it: not part of an input method's work. Safari ends the composition before
 * the key press that ended it; there only the key code 229 tells. */
export const enters = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

/** The language of a text, for its typeface and for the voice that reads it. */
export function tongue(text) {
  const han = text.match(/[\u3400-\u9fff\uf900-\ufaff]/g)?.length ?? 0;
  const words = text.match(/[A-Za-z]+/g)?.length ?? 0;
  return han > words ? "zh" : "en";
}

/** As high as what is written in it. */
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

export async function copy(text, told) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyPlainly(text); // without TLS, from another machine
  const words = told.textContent;
  told.textContent = say("copied");
  setTimeout(() => { told.textContent = words; }, 1500);
}

function copyPlainly(text) {
  const area = make("textarea", { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Ask the reader; null if they would rather not. With `text` given they may write one. */
export function ask(words, yes, { text, secret = false } = {}) {
  const field = make("input", {
    id: "question-text", type: secret ? "password" : "text", value: text ?? "", hidden: text === undefined, dir: "auto",
    autocomplete: "off", "aria-labelledby": "question-title" });
  const dialog = make("dialog", { id: "question", className: "box", "aria-labelledby": "question-title" },
    make("form", { method: "dialog" },
      make("p", { id: "question-title", textContent: words }), field,
      make("p", { className: "choice" },
        make("button", { value: "", className: "quiet", textContent: say("cancel") }),
        make("button", { id: "question-yes", value: "yes", textContent: yes }))));
  document.body.append(dialog);
  dialog.showModal();
  if (!field.hidden) field.select();
  field.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // the form's first button is Cancel
    if (enters(event)) dialog.close("yes");
  };
  return new Promise((settle) => {
    dialog.onclose = () => {
      dialog.remove();
      settle(dialog.returnValue === "yes" ? field.value : null);
    };
  });
}

/** Hand a file to the reader. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
