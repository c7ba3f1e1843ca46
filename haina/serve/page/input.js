// Typing pinyin on the page: letters become keys, the service answers with candidates, digits and space choose.
// The trigram answers each key; the network is asked after a pause, and never moves what is being chosen. What is
// chosen is learnt by the service, if the reader wants it, and brings up words that may come next.

import * as api from "./api.js";
import { ask as confirmed, copy, find, make, save } from "./dom.js";
import * as head from "./head.js";
import { learn, say } from "./words.js";

learn({
  pinyin_note: ["Type Chinese with the letters of pinyin: nihaoshijie, or nhsj. Nothing leaves your machine.", "用拼音输入中文：nihaoshijie，或只打 nhsj。内容不会离开本机。"],
  pinyin_text: ["What you write", "你写的文字"],
  pinyin_here: ["Write here…", "在此输入……"],
  pinyin_help: ["Space or a digit chooses, arrows look further, Enter keeps the letters, Esc drops them; ' parts syllables. Down goes to the words that may come next.", "空格或数字选词，方向键翻看，回车保留字母，Esc 取消，' 分隔音节；按向下键可选用联想词。"],
  pinyin_candidates: ["Candidates", "候选词"],
  pinyin_scheme: ["Scheme", "输入方案"],
  pinyin_full: ["Full pinyin", "全拼"],
  pinyin_xiaohe: ["Double pinyin, Xiaohe", "小鹤双拼"],
  pinyin_ziranma: ["Double pinyin, Ziranma", "自然码双拼"],
  pinyin_microsoft: ["Double pinyin, Microsoft", "微软双拼"],
  pinyin_fuzzy: ["Sounds that you do not tell apart", "模糊音"],
  pinyin_words: ["Your own words", "个人词库"],
  pinyin_learn: ["learn what I choose", "学习我选用的词"],
  pinyin_export: ["Export", "导出"],
  pinyin_forget: ["Forget all", "全部忘掉"],
  pinyin_forget_them: ["Forget all words that you taught? They cannot be brought back.", "忘掉你教过的全部词？忘掉后无法恢复。"],
  pinyin_forgotten: ["{0} words forgotten", "已忘掉 {0} 个词"],
  pinyin_clear: ["Clear", "清空"],
});

const PAGE = 9;
const TOP = 5 * PAGE;
const PAUSE_MS = 120;
const CONTEXT = 200; // characters
const PAIRS = ["zh/z", "ch/c", "sh/s", "n/l", "f/h", "r/l", "k/g", "ang/an", "eng/en", "ing/in"];
const MARKS = { ",": "，", ".": "。", "?": "？", "!": "！", ":": "：", ";": "；", "(": "（", ")": "）", "\\": "、" };
const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: PAGE, ArrowUp: -PAGE, PageDown: PAGE, PageUp: -PAGE };
const NAMES = { insertLineBreak: "Enter", deleteContentBackward: "Backspace" }; // of keys, on phones

const written = find("#written");
let keys = ""; // typed and not chosen yet
let chosen = []; // [text, the keys that it stands for]
let found = []; // candidates; where nothing is typed, words that may come next
let marked = 0; // -1: none
let answered = Promise.resolve(); // the answer to the last key
let questions = 0; // an answer to an older one is not shown
let pause = 0;
let held = null; // keys pressed while a choice waits for its candidates

const composing = () => Boolean(keys || chosen.length);
const text = () => chosen.map(([said]) => said).join("");

// -- candidates ---------------------------------------------------------------------------------------------------

async function ask(quick) {
  const question = ++questions;
  clearTimeout(pause);
  const context = (written.value.slice(0, written.selectionStart) + text()).slice(-CONTEXT);
  const fuzzy = [...find("#fuzzy").querySelectorAll(":checked")].map((box) => box.value);
  const body = { keys, context, top: keys ? TOP : PAGE, scheme: find("#scheme").value, fuzzy, quick };
  let candidates;
  try {
    ({ candidates } = await api.asked("v1/input", body));
  } catch (error) {
    candidates = [];
    find("#refused").textContent = error.words;
  }
  if (question !== questions || (!quick && marked)) return;
  if (candidates.length) find("#refused").textContent = "";
  found = candidates;
  show();
  if (quick && keys) pause = setTimeout(() => ask(false), PAUSE_MS);
}

/** Other keys: their candidates, the first one marked. */
function retype(typed) {
  keys = typed;
  marked = keys ? 0 : -1;
  answered = ask(true);
  show();
}

function show() {
  const first = Math.floor(Math.max(marked, 0) / PAGE) * PAGE;
  const list = find("#candidates");
  find("#spelled").replaceChildren(...(chosen.length ? [make("span", { lang: "zh", textContent: text() })] : []), keys);
  list.replaceChildren(...found.slice(first, first + PAGE).map((candidate, i) => option(candidate.text, first + i, i + 1)));
  list.hidden = !found.length;
  list.classList.toggle("next", !composing());
  find("#told").textContent = found[marked]?.text ?? "";
}

function option(said, at, digit) {
  const mark = composing() ? [make("small", { textContent: digit })] : [];
  const item = make("li", { role: "option", "aria-selected": String(at === marked) }, ...mark, said);
  item.addEventListener("pointerdown", (event) => event.preventDefault()); // the text keeps the focus
  item.addEventListener("click", () => choose(at));
  return item;
}

// -- choosing -----------------------------------------------------------------------------------------------------

function choose(at) {
  const candidate = found[at];
  if (!candidate) return keys && !found.length ? commit(text() + keys) : undefined;
  chosen.push([candidate.text, keys.slice(0, candidate.keys)]);
  const rest = keys.slice(candidate.keys).replace(/^'+/, "");
  if (!rest) return commit(text(), true);
  found = [];
  return retype(rest);
}

/** Into the text; learnt if it was chosen from candidates. */
function commit(said, taught = false) {
  const parts = chosen.map(([part]) => part);
  write(said);
  if (taught && find("#learn").checked) {
    const words = parts.length > 1 ? [...parts, parts.join("")] : parts;
    api.asked("v1/input/words", { words: words.filter((word) => word.length <= 16) }).catch(() => {}); // typing goes on
  }
  drop();
  retype("");
}

function write(said) {
  written.setRangeText(said, written.selectionStart, written.selectionEnd, "end");
}

/** What is typed and chosen is forgotten. */
function drop() {
  [keys, chosen, found, marked] = ["", [], [], -1];
  questions++;
  clearTimeout(pause);
  show();
}

function back() {
  const undone = keys.length <= 1 && chosen.length ? chosen.pop()[1] : keys.slice(0, -1);
  found = [];
  if (undone || chosen.length) retype(undone);
  else drop();
}

// -- keys ---------------------------------------------------------------------------------------------------------

const spells = (key) =>
  /^[a-z]$/.test(key) || (keys && (key === "'" || (key === ";" && find("#scheme").value === "microsoft")));

/** A key by its name; whether it was ours. One that chooses waits for the candidates, and later ones wait behind it. */
function press(key) {
  if (held) held.push(key);
  else if (spells(key)) retype(keys + key);
  else if (!composing()) return foresee(key);
  else if (key.length > 1) return compose(key);
  else {
    held = [];
    answered.then(() => release(key));
  }
  return true;
}

function release(key) {
  const later = held;
  held = null;
  take(key);
  for (const next of later) if (!press(next)) plain(next);
}

/** A key that chooses: a digit, space, or a mark or letter that goes behind the best candidate. */
function take(key) {
  if (/[1-9]/.test(key)) return choose(Math.floor(marked / PAGE) * PAGE + Number(key) - 1);
  if (key === " ") return choose(marked);
  const candidate = found[marked];
  if (candidate) chosen.push([candidate.text, keys]);
  return commit(text() + keys.slice(candidate?.keys ?? 0) + (MARKS[key] ?? key), true);
}

/** A key with a name while something is typed. */
function compose(key) {
  if (key === "Enter") commit(text() + keys);
  else if (key === "Backspace") back();
  else if (key === "Escape") drop();
  else if (key in MOVES) mark(moved(key));
  else return false;
  return true;
}

/** A key while nothing is typed. Words may be shown that come next: Down leads there. */
function foresee(key) {
  if (key in MARKS) commit(MARKS[key]);
  else if (marked < 0 && key === "ArrowDown" && found.length) mark(0);
  else if (marked >= 0 && (key === "ArrowRight" || key === "ArrowLeft")) mark(moved(key));
  else if (marked >= 0 && (key === " " || key === "Enter")) choose(marked);
  else if (marked >= 0 && (key === "ArrowUp" || key === "Escape")) mark(-1);
  else {
    if (key.length === 1 || key === "Enter" || key === "Escape") drop();
    return false;
  }
  return true;
}

const moved = (key) => Math.max(0, Math.min(marked + MOVES[key], found.length - 1));

function mark(at) {
  marked = at;
  show();
}

/** A key that was held back and is not ours, as the text field would have taken it. */
function plain(key) {
  if (key === "Enter") write("\n");
  else if (key.length === 1) write(key);
}

written.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key !== "Unidentified" && press(event.key)) event.preventDefault();
});
written.addEventListener("beforeinput", (event) => { // keys that a phone does not name
  const key = NAMES[event.inputType] ?? (event.inputType === "insertText" ? event.data : null);
  if (key && !event.isComposing && press(key)) event.preventDefault();
});
for (const name of ["pointerdown", "blur"]) written.addEventListener(name, () => { if (composing()) commit(text() + keys); });

// -- the rest of the page -----------------------------------------------------------------------------------------

find("#fuzzy").append(...PAIRS.map((pair) =>
  make("label", {}, make("input", { type: "checkbox", value: pair }), ` ${pair}`)));
find("#scheme").addEventListener("change", () => { drop(); written.focus(); });
find("#copy").addEventListener("click", () => copy(written.value, find("#copy")));
find("#clear").addEventListener("click", () => { written.value = ""; drop(); written.focus(); });
find("#export").addEventListener("click", () => told(async () => {
  const { words } = await api.listed("v1/input/words");
  const lines = words.map(({ text: word, reading, times }) => `${word}\t${reading}\t${times}\n`);
  save(new Blob(lines, { type: "text/plain;charset=utf-8" }), "haina-words.txt");
}));
find("#forget").addEventListener("click", () => told(async () => {
  if (await confirmed(say("pinyin_forget_them"), say("pinyin_forget")) === null) return;
  const { forgotten } = await api.removed("v1/input/words");
  find("#told").textContent = say("pinyin_forgotten", forgotten);
}));

async function told(work) {
  find("#refused").textContent = "";
  await work().catch((error) => { find("#refused").textContent = error.words; });
}

head.begin(() => {});
written.focus();
