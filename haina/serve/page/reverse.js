// The reverse dictionary on the page: a description, and the words for it as columns of a dictionary, each with the
// definition that matched. A word can be looked up further; the address holds what was asked, so Back goes back.

import { asked, Refusal } from "./api.js";
import { button, copy, enters, find, make, tongue } from "./dom.js";
import * as head from "./head.js";
import { figure, language, learn, say } from "./words.js";

learn({
  reverse_describe: ["Describe the word", "描述要找的词"],
  reverse_describe_here: ["What does the word mean? e.g. afraid of being in a small closed space", "这个词是什么意思？例如：看到别人比自己好，心里不痛快"],
  reverse_find: ["Find words", "找词"],
  reverse_to: ["Words in", "结果"],
  reverse_same: ["the same language", "同描述的语言"],
  reverse_sort: ["Order", "排序"],
  reverse_by_relevance: ["relevance", "相关度"],
  reverse_by_frequency: ["frequency", "词频"],
  reverse_by_length: ["length", "长度"],
  reverse_by_alphabet: ["alphabet, pinyin", "字母、拼音"],
  reverse_by_strokes: ["strokes", "笔画"],
  reverse_groups: ["by meaning", "按意义分组"],
  reverse_narrow: ["What is known of the word", "已知线索"],
  reverse_chinese: ["Of a Chinese word", "中文词的线索"],
  reverse_any: ["any", "不限"],
  reverse_pos: ["Part of speech", "词性"],
  reverse_noun: ["noun", "名词"],
  reverse_verb: ["verb", "动词"],
  reverse_adjective: ["adjective", "形容词"],
  reverse_adverb: ["adverb", "副词"],
  reverse_style: ["Style", "语体"],
  reverse_formal: ["formal", "书面"],
  reverse_informal: ["informal", "口语"],
  reverse_old: ["old", "旧词"],
  reverse_length: ["Length", "字数（字母数）"],
  reverse_initial: ["Begins with", "开头"],
  reverse_containing: ["Contains", "包含"],
  reverse_pattern: ["Pattern: ? one, * any", "模式：? 一字，* 任意"],
  reverse_common: ["At least per million", "每百万词至少出现"],
  reverse_single: ["No phrases", "英文不要词组"],
  reverse_pinyin: ["Pinyin, or initials", "拼音或声母"],
  reverse_rhyme: ["Rhymes with", "押韵"],
  reverse_tones: ["Tones", "声调"],
  reverse_strokes: ["Strokes", "总笔画"],
  reverse_hsk: ["HSK at most", "HSK 不高于"],
  reverse_idioms: ["Idioms only", "只要成语"],
  reverse_looking: ["Looking…", "正在查找……"],
  reverse_count: ["{0} words", "{0} 词"],
  reverse_none: ["No word fits; ask for less.", "没有符合的词；请放宽条件。"],
  reverse_group: ["Meaning {0}", "意义 {0}"],
  reverse_more: ["Show all {0}", "显示全部 {0} 词"],
  reverse_further: ["Look for words like {0}", "查找与“{0}”相近的词"],
  reverse_copy: ["Copy {0}", "复制“{0}”"],
});

const POS = { noun: "reverse_noun", verb: "reverse_verb", adjective: "reverse_adjective", adverb: "reverse_adverb" };
const FIRST = 40; // words that are shown at once
let running = null; // the request under way
let shown = null; // what was last answered

const form = () => find("#reverse-asks");
const fields = () => [...form().elements].filter((field) => field.name);

/** What the form asks for; fields left alone are left out. */
function request() {
  const body = { description: find("#reverse-text").value.trim(), details: true };
  for (const field of fields()) {
    const value = field.type === "checkbox" ? field.checked : field.value.trim();
    if (value !== "" && value !== false) body[field.name] = field.type === "number" ? Number(value) : value;
  }
  return body;
}

async function ask({ remembered = false } = {}) {
  const body = request();
  if (!body.description) {
    find("#reverse-text").focus();
    return;
  }
  if (!remembered) remember(body);
  running?.abort();
  const mine = running = new AbortController();
  find("#reverse-alert").hidden = true;
  find("#reverse-told").textContent = say("reverse_looking");
  try {
    const { results } = await asked("v1/words", body, mine.signal);
    shown = { results, whole: false };
    show();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refusal)) throw error;
    shown = null;
    show();
    find("#reverse-alert").textContent = error.words;
    find("#reverse-alert").hidden = false;
  }
}

function show() {
  const results = shown?.results ?? [];
  find("#reverse-told").textContent = shown ? say(results.length ? "reverse_count" : "reverse_none", figure(results.length)) : "";
  const visible = shown?.whole ? results : results.slice(0, FIRST);
  find("#reverse-found").replaceChildren(...(results.some((one) => one.cluster) ? groups(visible) : [column(visible)]));
  if (visible.length < results.length) find("#reverse-found").append(rest(results.length, visible.length));
}

const rest = (count, next) => make("p", {}, button(say("reverse_more", figure(count)), () => {
  shown.whole = true;
  show();
  find("#reverse-found").querySelectorAll(".headword")[next].focus();
}));

const column = (results) => make("ol", { className: "entries" }, ...results.map(entry));

function groups(results) {
  const found = new Map();
  for (const one of results) found.set(one.cluster, [...(found.get(one.cluster) ?? []), one]);
  return [...found].map(([number, members]) =>
    make("section", {}, make("h2", { textContent: say("reverse_group", figure(number)) }), column(members)));
}

function entry(one) {
  const word = button(one.word, () => further(one.word), {
    className: "headword", lang: tongue(one.word), title: say("reverse_further", one.word) });
  const copied = button(say("copy"), () => copy(one.word, copied), { "aria-label": say("reverse_copy", one.word) });
  const about = [heard(one.pinyin), one.pos.map((kind) => say(POS[kind])).join(language() === "zh" ? "、" : ", ")];
  return make("li", {},
    word,
    ...about.filter(Boolean).map((words) => make("span", { className: "about", textContent: words })),
    ...(one.why ? [make("p", { lang: tongue(one.why), textContent: one.why })] : []),
    ...one.examples.slice(0, 1).map((text) => make("p", { className: "example", lang: tongue(text), textContent: text })),
    make("p", { className: "source" }, ...(one.source ? [make("span", { textContent: `${one.source} · ${one.licence}` })] : []), copied));
}

function further(word) {
  find("#reverse-text").value = word;
  ask();
  find("#reverse-text").focus();
}

// -- readings ---------------------------------------------------------------------------------------------------

const MARKS = ["", "\u0304", "\u0301", "\u030c", "\u0300", ""];

/** hai3 na4 → hǎi nà */
function heard(reading) {
  return reading.replace(/([a-zv]+)([1-5])/g, (_, letters, tone) => {
    const vowel = letters.search(/[ae]/) >= 0 ? letters.search(/[ae]/)
      : letters.includes("ou") ? letters.indexOf("o") : letters.search(/[iouv][^aeiouv]*$/);
    const marked = letters.slice(0, vowel + 1) + MARKS[tone] + letters.slice(vowel + 1);
    return marked.replace("v", "ü").normalize("NFC");
  });
}

// -- the address ------------------------------------------------------------------------------------------------

function remember({ details, ...body }) {
  const address = `?${new URLSearchParams(body)}`;
  if (address !== location.search) history.pushState(null, "", address);
}

function recall() {
  const held = new URLSearchParams(location.search);
  find("#reverse-text").value = held.get("description") ?? "";
  for (const field of fields()) {
    if (field.type === "checkbox") field.checked = held.has(field.name);
    else field.value = held.get(field.name) ?? (field.name === "sort" ? "relevance" : "");
  }
  find("#reverse-narrow").open ||= [...find("#reverse-narrow").querySelectorAll("[name]")].some((field) => held.has(field.name));
  if (held.has("description")) ask({ remembered: true });
  else {
    shown = null;
    show();
  }
}

// -- keys -------------------------------------------------------------------------------------------------------

/** Up and down go from word to word, and back into the description. */
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const words = [...find("#reverse-found").querySelectorAll(".headword")];
  const at = words.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  (words[at + step] ?? (step < 0 ? find("#reverse-text") : words[at])).focus();
}

head.begin(show);
form().addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("#reverse-text").addEventListener("keydown", (event) => {
  if (!enters(event)) return;
  event.preventDefault();
  ask();
});
for (const field of fields()) field.addEventListener("change", () => { if (shown || running) ask(); });
find("#reverse-found").addEventListener("keydown", walk);
addEventListener("popstate", recall);
recall();
