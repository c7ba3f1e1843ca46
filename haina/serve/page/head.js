// The head of a page: its colours and its language, which are remembered for the next visit.

import { find } from "./dom.js";
import { fill, language, say } from "./words.js";

const THEMES = ["auto", "light", "dark"];

/** `turned` is called when the language has changed. */
export function begin(turned) {
  const root = document.documentElement;
  find("#theme").addEventListener("click", () => {
    root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    keep("haina-theme", root.dataset.theme);
    show();
  });
  find("#language").addEventListener("click", () => {
    root.lang = language() === "zh" ? "en" : "zh";
    keep("haina-language", root.lang);
    show();
    turned();
  });
  show();
}

function show() {
  fill();
  const theme = say(`theme_${document.documentElement.dataset.theme}`);
  find("#theme").textContent = theme;
  find("#theme").setAttribute("aria-label", `${say("theme")}: ${theme}`);
  find("#language").textContent = say("other_language");
  find("#language").lang = language() === "zh" ? "en" : "zh";
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch { /* storage may be forbidden; it holds until the page is closed */ }
}
