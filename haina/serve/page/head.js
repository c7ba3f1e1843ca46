// The head of a page: the way to the others, its colours and its language, which are remembered for the next visit.

import { onKeyWanted } from "./api.js";
import { ask, find, make } from "./dom.js";
import { fill, language, say } from "./words.js";

const PAGES = { "./": "chat", poem: "poem", words: "words", input: "pinyin", search: "search", docs: "api" };
const THEMES = ["auto", "light", "dark"];

/** `turned` is called when the language has changed. */
export function begin(turned) {
  const root = document.documentElement;
  find("#pages").replaceChildren(...Object.entries(PAGES).map(link));
  onKeyWanted((wrong) => ask(say(wrong ? "key_wrong" : "key"), say("key_yes"), { text: "", secret: true }));
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

function link([path, name]) {
  const here = (location.pathname.split("/").pop() || "./") === path;
  return make("a", { href: path, "data-say": name, ...(here && { "aria-current": "page" }) });
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
