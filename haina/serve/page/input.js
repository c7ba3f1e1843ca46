// Typing pinyin on the page: letters become keys, the service answers with candidates, digits and space choose.
// The trigram answers each key; the network is asked after a pause, and never moves what is being chosen.

import { find, make } from "./dom.js";
import * as head from "./head.js";
import { learn, say } from "./words.js";

learn({
  pinyin_note: ["Type Chinese with the letters of pinyin. Nothing leaves your machine.", "用拼音输入中文，内容不会离开本机。"],
  pinyin_text: ["What you write", "你写的文字"],
  pinyin_keys: ["Space or a digit chooses, arrows look further, Enter keeps the letters, Esc drops them. ' parts syllables.", "空格或数字选词，方向键翻看，回车保留字母，Esc 取消；用 ' 分隔音节。"],
  pinyin_refused: ["These keys were refused.", "这些按键无法识别。"],
  candidates: ["Candidates", "候选词"],
  scheme: ["Scheme", "输入方案"],
  scheme_full: ["Full pinyin", "全拼"],
  scheme_xiaohe: ["Xiaohe", "小鹤双拼"],
  scheme_ziranma: ["Ziranma", "自然码"],
  scheme_microsoft: ["Microsoft", "微软双拼"],
});

const PAGE = 9;
const PAUSE_MS = 120;
const SCHEMES = ["full", "xiaohe", "ziranma", "microsoft"];
const MARKS = { ",": "，", ".": "。", "?": "？", "!": "！", ":": "：", ";": "；", "(": "（", ")": "）", "\\": "、" };
const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: PAGE, ArrowUp: -PAGE, PageDown: PAGE, PageUp: -PAGE };

const written = find("#written");
let keys = ""; // typed and not chosen yet
let chosen = []; // [text, the keys that it stands for]
let found = []; // candidates
let marked = 0;
let asked = 0; // answers to older questions are not shown
let pause = 0;

const context = () => written.value.slice(0, written.selectionStart).slice(-200) + chosen.map(([text]) => text).join("");

async function ask(quick) {
  const question = ++asked;
  clearTimeout(pause);
  if (!keys) { found = []; show(); return; }
  const key = sessionStorage.getItem("haina-key");
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const body = JSON.stringify({ keys, context: context(), top: 5 * PAGE, scheme: find("#scheme").value, quick });
  const answer = await fetch("v1/input", { method: "POST", headers, body }).catch(() => null);
  if (question !== asked || (!quick && marked)) return;
  if (answer?.ok) found = (await answer.json()).candidates;
  else find("#told").textContent = say(answer ? "pinyin_refused" : "unreachable");
  if (quick) pause = setTimeout(() => ask(false), PAUSE_MS);
  show();
}

function show() {
  const start = Math.floor(marked / PAGE) * PAGE;
  const page = found.slice(start, start + PAGE);
  find("#spelled").textContent = chosen.map(([text]) => text).join("") + keys;
  find("#candidates").replaceChildren(...page.map(({ text }, i) => make("li", {
    role: "option", "aria-selected": String(start + i === marked), onmousedown: (event) => { event.preventDefault(); choose(start + i); },
  }, make("sub", { textContent: i + 1 }), text)));
  find("#told").textContent = found[marked]?.text ?? "";
}

function choose(at) {
  const candidate = found[at];
  if (!candidate) { write(chosen.map(([text]) => text).join("") + keys); return; }
  chosen.push([candidate.text, keys.slice(0, candidate.keys)]);
  keys = keys.slice(candidate.keys).replace(/^'+/, "");
  marked = 0;
  if (keys) ask(true);
  else write(chosen.map(([text]) => text).join(""));
}

function write(text) {
  written.setRangeText(text, written.selectionStart, written.selectionEnd, "end");
  clear();
}

function clear() {
  [keys, chosen, found, marked] = ["", [], [], 0];
  asked++;
  show();
}

function back() {
  keys = keys.slice(0, -1);
  if (!keys && chosen.length) [, keys] = chosen.pop();
  marked = 0;
  ask(true);
}

/** Whether the key press was for us. */
function press(key) {
  if (/^[a-z]$/.test(key) || (keys && (key === "'" || (key === ";" && find("#scheme").value === "microsoft")))) {
    keys += key;
    marked = 0;
    ask(true);
  } else if (!keys && !chosen.length) {
    if (!MARKS[key]) return false;
    write(MARKS[key]);
  } else if (/^[1-9]$/.test(key)) choose(Math.floor(marked / PAGE) * PAGE + Number(key) - 1);
  else if (key === " ") choose(marked);
  else if (key === "Enter") write(chosen.map(([text]) => text).join("") + keys);
  else if (key === "Backspace") back();
  else if (key === "Escape") clear();
  else if (key in MOVES) {
    marked = Math.max(0, Math.min(marked + MOVES[key], found.length - 1));
    show();
  } else if (MARKS[key]) write(chosen.map(([text]) => text).join("") + (found[marked]?.text ?? keys) + MARKS[key]);
  else return false;
  return true;
}

written.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (press(event.key)) event.preventDefault();
});
find("#scheme").addEventListener("change", () => { clear(); written.focus(); });

function turned() {
  const scheme = find("#scheme").value || "full";
  find("#scheme").replaceChildren(...SCHEMES.map((name) =>
    make("option", { value: name, textContent: say(`scheme_${name}`), selected: name === scheme })));
}

head.begin(turned);
turned();
written.focus();
