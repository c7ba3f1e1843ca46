// The conversation on the page, set like a dialogue in a book: question, answer, question. It shows a Talk and passes
// on what the reader does with a message; it knows nothing of the server.

import { button, copy, enters, find, fit, make, tongue } from "./dom.js";
import * as live from "./live.js";
import { render } from "./render.js";
import { figure, language, say } from "./words.js";

const LONG = 600; // characters of a question, or
const LINES = 12; // of it, above which it is folded
const FEW = 8; // tokens, whose speed is noise
let drafted = null; // the article of the answer in the making
let due = 0; // the frame in which it will be set again
let pause_ms = 0; // so long until then: setting a long answer takes its time
const texts = new WeakMap(); // messages that were set already, with the language of the page then

/** Show all of a conversation. */
export function show(talk) {
  const low = atEnd();
  const branch = talk.tree.branch();
  const articles = branch.map((message) => article(talk, message));
  drafted = talk.draft ? answering(talk.draft) : null;
  if (drafted) articles.push(drafted);
  else if (branch.at(-1)?.role === "user" || talk.trouble) articles.push(unanswered(talk, branch.at(-1)));
  if (!drafted && talk.fullness) articles.push(fullness(talk));
  const thread = find("#thread");
  const focused = place(thread, document.activeElement);
  thread.replaceChildren(...articles);
  thread.setAttribute("aria-busy", String(Boolean(talk.draft)));
  if (focused) focus(thread, focused);
  pause_ms = 0;
  if (low) toEnd();
}

/** Which button of which article has the focus; null if it is elsewhere. */
function place(thread, element) {
  if (!thread.contains(element)) return null;
  const at = [...thread.children].findIndex((one) => one.contains(element));
  return [at, [...(thread.children[at]?.querySelectorAll("button") ?? [])].indexOf(element)];
}

/** Back to the same button, or to the text if it is gone. */
function focus(thread, [at, number]) {
  const same = thread.children[at]?.querySelectorAll("button")[number];
  (same && !same.disabled ? same : thread).focus({ preventScroll: true });
}

/** Show how far the answer in the making is. */
export function grow(talk) {
  if (due || !talk.draft) return;
  due = setTimeout(() => requestAnimationFrame(() => {
    due = 0;
    if (!talk.draft || !drafted?.isConnected) return;
    const began = performance.now();
    const low = atEnd();
    fillDraft(talk.draft);
    live.hear(talk.draft.content);
    if (low) toEnd();
    pause_ms = 3 * (performance.now() - began);
  }), pause_ms);
}

function article(talk, message) {
  const user = message.role === "user";
  const foot = make("footer", { className: "acts" });
  const whole = make("article", { className: user ? "q" : "a" }, heading(user), textOf(message, user), foot);
  if (user && isLong(message.content)) foot.append(folding(whole.querySelector(".text")));
  versions(talk, message, foot);
  foot.append(button(say("copy"), (event) => copy(message.content, event.target)));
  if (!talk.draft) {
    foot.append(user
      ? button(say("edit"), () => edit(talk, message, whole))
      : button(say("again"), () => talk.answer(message.parent)));
  }
  if (!user) foot.append(make("span", { className: "figures", textContent: figures(message.about) }));
  if (message.about.finish === "length" && !isFull(talk, message.about)) foot.before(note(say("cut")));
  if (message.about.finish === "stopped") foot.before(note(say("stopped")));
  return whole;
}

function textOf(message, user) {
  const known = texts.get(message);
  if (known?.language === language()) return known.text;
  const text = make("div", { className: "text", lang: tongue(message.content) });
  if (user) text.textContent = message.content;
  else text.append(render(message.content));
  texts.set(message, { text, language: language() });
  return text;
}

const isLong = (text) => text.length > LONG || text.split("\n").length > LINES;

/** Hide most of a long question; the button that shows it. */
function folding(text) {
  text.classList.add("folded");
  return button(say("show_all"), (event) => {
    const folded = text.classList.toggle("folded");
    event.target.textContent = say(folded ? "show_all" : "show_less");
    event.target.setAttribute("aria-expanded", String(!folded));
  }, { "aria-expanded": "false" });
}

const isFull = (talk, { prompt_tokens, new_tokens }) => prompt_tokens + new_tokens >= talk.context;

/** That little or nothing more fits, and what can be done. */
function fullness(talk) {
  if (talk.fullness === "nearly") return note(say("nearly_full", figure(talk.used), figure(talk.context)));
  const acts = make("p", { className: "acts" },
    button(say("go_on"), () => talk.goOn()), button(say("new_talk"), () => find("#new").click()));
  return make("div", { className: "full", role: "status" }, note(say("full", figure(talk.context))), acts);
}

function heading(user) {
  const mark = make("span", { textContent: say(user ? "q" : "a"), "aria-hidden": "true" });
  return make("h2", {}, mark, make("span", { className: "unseen", textContent: say(user ? "question" : "answer") }));
}

const note = (words) => make("p", { className: "note", textContent: words, lang: tongue(words) });

function figures({ new_tokens, tokens_per_s }) {
  if (!tokens_per_s || new_tokens < FEW) return new_tokens ? say("figures_few", figure(new_tokens)) : "";
  return say("figures", figure(new_tokens), figure(tokens_per_s));
}

function versions(talk, message, foot) {
  const all = talk.tree.versions(message);
  const at = all.indexOf(message);
  if (all.length < 2) return;
  const turn = (words, name, to) => button(words, () => talk.go(talk.tree.end(all[to])), {
    "aria-label": say(name), disabled: !all[to] || Boolean(talk.draft), className: "quiet turn",
  });
  const place = make("span", { className: "figures", "aria-hidden": "true", textContent: `${at + 1}/${all.length}` });
  const heard = make("span", { className: "unseen", textContent: say("branch_of", at + 1, all.length) });
  foot.append(make("span", { className: "versions" },
    turn("‹", "earlier_branch", at - 1), place, heard, turn("›", "later_branch", at + 1)));
}

/** Change a question; what it becomes is asked beside it, on a branch of its own. */
function edit(talk, message, whole) {
  const area = make("textarea", { value: message.content, rows: 1, dir: "auto", "aria-label": say("edit"), lang: tongue(message.content) });
  const leave = () => {
    show(talk);
    find("#ask").focus();
  };
  const done = () => {
    if (area.value.trim() && !talk.draft) talk.ask(area.value, message.parent);
    find("#ask").focus();
  };
  area.addEventListener("input", () => fit(area));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) leave();
    if (!enters(event)) return;
    event.preventDefault();
    done();
  });
  whole.querySelector(".text").replaceWith(area);
  whole.querySelector(".acts").replaceChildren(button(say("save"), done), button(say("cancel"), leave));
  fit(area);
  area.focus();
}

function unanswered(talk, last) {
  const words = talk.trouble ? say("failed", talk.trouble.words) : say("unanswered");
  const text = make("div", { className: "text" }, make("p", { className: "note", role: talk.trouble ? "alert" : "note", textContent: words }));
  const foot = make("footer", { className: "acts" });
  if (last?.role === "user") foot.append(button(say("retry"), () => talk.answer(last.number)));
  return make("article", { className: "a" }, heading(false), text, foot);
}

function answering(draft) {
  live.begin();
  drafted = make("article", { className: "a draft" }, heading(false), make("div", { className: "text" }), make("footer", { className: "acts" }));
  fillDraft(draft);
  return drafted;
}

function fillDraft(draft) {
  const text = drafted.querySelector(".text");
  if (draft.content) {
    text.lang = tongue(draft.content);
    text.replaceChildren(render(draft.content));
  } else {
    text.replaceChildren(prefill(draft.progress));
  }
}

function prefill(progress) {
  if (!progress) return make("p", { className: "note pulse", textContent: say("waiting") });
  const [done, total] = progress;
  const bar = make("progress", { max: total, value: done, "aria-label": say("reading", done, total) });
  return make("p", { className: "note prefill" }, bar, make("span", { className: "figures", textContent: say("reading", figure(done), figure(total)) }));
}

const atEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
export const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);
