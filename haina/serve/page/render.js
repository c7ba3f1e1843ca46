// A model's Markdown as elements. What it says is untrusted: markdown-it takes no HTML from it, DOMPurify lets through
// only what is listed here, formulas are set by KaTeX with trust off, pictures become links, and the page's policy
// (page.py) forbids everything else. It knows nothing of conversations.

import hljs from "./vendor/highlight.min.js";
import { button, copy, make } from "./dom.js";
import { math } from "./math.js";
import { say } from "./words.js";

const { markdownit, DOMPurify, katex } = window;
const LONGEST_CODE = 50_000; // characters; beyond that colours cost more than they tell
const ALLOWED = {
  ALLOWED_TAGS: ("a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong " +
    "table tbody td th thead tr ul").split(" "),
  ALLOWED_ATTR: ["href", "class", "start", "align"],
  ADD_URI_SAFE_ATTR: ["start", "align"], // no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};

const md = markdownit({ html: false, breaks: true, linkify: true, highlight }).use(math);
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false }); // “见example.com页” would swallow the Chinese
md.renderer.rules.image = (tokens, at) => {
  const { attrs, content } = tokens[at];
  const source = md.utils.escapeHtml(attrs.find(([name]) => name === "src")[1]);
  return `<a href="${source}">${md.utils.escapeHtml(content || source)}</a>`;
};
for (const cell of ["th_open", "td_open"]) {
  md.renderer.rules[cell] = (tokens, at, options, _, self) => {
    const style = tokens[at].attrGet("style"); // the policy forbids styles in markup
    if (style) tokens[at].attrs = [["align", style.split(":")[1]]];
    return self.renderToken(tokens, at, options);
  };
}

function highlight(code, name) {
  if (!hljs.getLanguage(name) || code.length > LONGEST_CODE) return "";
  return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}

/** The elements of a text, in a fragment. */
export function render(text) {
  const fragment = DOMPurify.sanitize(md.render(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const formula of fragment.querySelectorAll(".math")) set(formula);
  for (const block of fragment.querySelectorAll("pre")) frame(block);
  for (const table of fragment.querySelectorAll("table")) {
    const scroll = make("div", { className: "scroll", role: "region", tabIndex: 0, "aria-label": say("table") });
    table.replaceWith(scroll);
    scroll.append(table);
  }
  return fragment;
}

function set(formula) {
  const tex = formula.textContent;
  const displayMode = formula.tagName === "DIV";
  if (displayMode) {
    formula.tabIndex = 0; // it may be wider than the page and scroll
    formula.setAttribute("role", "region");
    formula.setAttribute("aria-label", say("formula"));
  }
  try {
    katex.render(tex, formula, { displayMode, trust: false, strict: "ignore", maxExpand: 500, maxSize: 20 });
  } catch {
    formula.textContent = tex; // no formula: left as it was written
    formula.classList.add("raw");
  }
}

function frame(block) {
  const code = block.querySelector("code");
  const name = code?.className.match(/language-(\S+)/)?.[1] ?? "";
  const head = make("div", { className: "code-head" }, make("span", { textContent: name }));
  head.append(button(say("copy"), (event) => copy(block.textContent, event.target)));
  const figure = make("div", { className: "code" });
  block.replaceWith(figure);
  block.tabIndex = 0;
  block.setAttribute("role", "region");
  block.setAttribute("aria-label", name ? `${say("code")} ${name}` : say("code"));
  figure.append(head, block);
}
