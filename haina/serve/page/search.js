// Search on the page: a question, an answer that quotes, its sources beside it, and the document where a quote stands.
// Questions that follow are asked with those before them. What documents say is text and never anything else.

import * as api from "./api.js";
import { button, find, make, tongue } from "./dom.js";
import * as head from "./head.js";
import { figure, learn, say } from "./words.js";

learn({
  search_question: ["Ask your documents", "向你的文档提问"],
  search_ask: ["Ask", "提问"],
  search_who: ["Who chooses the quotes", "由谁选取引文"],
  search_nobody: ["no model: the best sentences", "不用模型：最贴合的句子"],
  search_own: ["words of its own between them", "引文之间可用自己的话"],
  search_anew: ["Begin anew", "另起话题"],
  search_holds: ["{0} documents, {1} passages. Every answer is quoted from them, word for word.", "共 {0} 篇文档、{1} 段。回答皆逐字引自其中。"],
  search_unread: ["{0} could not be read.", "其中 {0} 篇无法读取。"],
  no_index: ["No index is served here. Make one: haina search add FOLDER --index INDEX, then start: haina serve --search INDEX", "本服务没有提供索引。请先建立：haina search add 目录 --index 索引文件，再启动：haina serve --search 索引文件"],
  search_looking: ["Searching…", "正在查找……"],
  search_nothing: ["This is not in the documents.", "文档中没有找到答案。"],
  search_nearest: ["Nearest passages", "最接近的段落"],
  search_more: ["More passages", "更多段落"],
  search_sources: ["Sources", "出处"],
  search_source: ["Source {0}: {1}", "出处 {0}：{1}"],
  search_told: ["Answered with {0} sources", "已作答，出处 {0} 处"],
  search_place: ["characters {0}–{1} of {2}", "第 {0}–{1} 字，全文 {2} 字"],
});

const AROUND = 60; // characters beside a quote in the list of sources
const MOST_BEFORE = 20; // questions that one which follows is asked with

const asked = []; // the questions of this conversation
let running = null;

// -- a question and its answer ----------------------------------------------------------------------------------

async function ask(question) {
  running?.abort();
  running = new AbortController();
  const model = find("#who").value;
  const body = {
    question, before: asked.slice(-MOST_BEFORE), stream: true, ...(model && { model, own_words: find("#own").checked }) };
  const turn = begun(question);
  try {
    const answer = await heard(turn, body, running.signal);
    asked.push(question);
    show(turn, answer, Boolean(model));
  } catch (error) {
    turn.remove();
    if (error.name !== "AbortError") refuse(error);
  }
}

async function heard(turn, body, signal) {
  const said = turn.querySelector(".said");
  let text = "";
  for await (const [name, value] of api.events("v1/search", body, signal)) {
    if (name === "answer") return value;
    if (name === "text") said.replaceChildren(paragraph(text += value.text));
  }
  throw new api.Refusal("broken");
}

function begun(question) {
  find("#refused").textContent = "";
  find("#status").textContent = say("search_looking");
  const turn = make("article", { className: "turn" },
    make("h2", { textContent: question, lang: tongue(question), dir: "auto" }),
    make("div", { className: "said" }, make("p", { className: "note", textContent: say("search_looking") })),
    make("aside", { className: "sources", "aria-label": say("search_sources") }));
  find("#turns").prepend(turn);
  find("#anew").hidden = false;
  return turn;
}

function refuse(error) {
  find("#status").textContent = "";
  find("#refused").textContent = error.words ?? String(error);
}

function show(turn, answer, byModel) {
  const { found, citations } = answer;
  const quoted = new Set(citations.map(({ document, start }) => holder(answer, document, start)));
  const others = answer.passages.filter((passage) => !quoted.has(passage));
  turn.querySelector(".said").replaceChildren(...(found ? [answered(answer, byModel)] : [
    make("p", { className: "nothing", textContent: say("search_nothing") })]));
  turn.querySelector(".sources").replaceChildren(
    make("ol", {}, ...citations.map((citation, at) => source(answer, citation, at + 1))),
    ...(others.length ? [make("details", { open: !found },
      make("summary", { textContent: say(found ? "search_more" : "search_nearest") }),
      make("ul", {}, ...others.slice(0, found ? 8 : 4).map(passageItem)))] : []));
  find("#status").textContent = found ? say("search_told", citations.length) : say("search_nothing");
}

// -- what is said -----------------------------------------------------------------------------------------------

const paragraph = (text, ...children) => make("p", { lang: tongue(text), dir: "auto" }, ...(children.length ? children : [text]));

/** Without a model the answer is its quotes; a model's is a text with “quote”[n] in it, and no quote has such marks. */
function answered({ answer, citations }, byModel) {
  const parts = byModel
    ? answer.split(/(?<=”)\[(\d+)\]/).map((part, at) => (at % 2 ? mark(Number(part), citations) : part))
    : citations.flatMap((citation, at) => [oneLine(citation.quote), mark(at + 1, citations), " "]);
  return paragraph(answer, ...parts);
}

const oneLine = (text) => text.split(/\s+/).join(" ").trim();

function mark(number, citations) {
  const { document, start, end } = citations[number - 1];
  const label = say("search_source", number, name(document));
  return make("sup", {}, button(String(number), () => open(document, start, end), { className: "cite", "aria-label": label, title: label }));
}

// -- sources ----------------------------------------------------------------------------------------------------

const name = (document) => document.split(/[\\/]/).pop();
const folder = (document) => document.slice(0, -name(document).length);

/** The passage in which a place of a document lies. */
const holder = ({ passages }, document, start) =>
  passages.find((passage) => passage.document === document && passage.start <= start && start < passage.end);

/** Offsets count whole characters, JavaScript counts halves: texts are cut as lists. */
function source(answer, { document, start, end, quote }, number) {
  const passage = holder(answer, document, start);
  const text = [...(passage?.text ?? "")];
  const before = passage ? text.slice(Math.max(start - passage.start - AROUND, 0), start - passage.start) : [];
  const after = passage ? text.slice(end - passage.start, end - passage.start + AROUND) : [];
  return make("li", { value: number }, title(document, start, end),
    make("p", { className: "excerpt", lang: tongue(quote), dir: "auto" },
      before.join(""), make("mark", { textContent: quote }), after.join("")));
}

const passageItem = ({ document, start, end, text }) => make("li", {}, title(document, start, end),
  make("p", { className: "excerpt", textContent: oneLine(text), lang: tongue(text), dir: "auto" }));

const title = (document, start, end) => make("p", { className: "where" },
  button(name(document), () => open(document, start, end), { className: "quiet name", title: document }),
  make("small", { textContent: folder(document), title: folder(document) }));

// -- a document -------------------------------------------------------------------------------------------------

async function open(document, start, end) {
  const query = new URLSearchParams({ path: document, start, end });
  try {
    const leaf = await api.listed(`v1/search/document?${query}`);
    find("#leaf-name").textContent = name(document);
    find("#leaf-place").textContent = `${document} · ${say("search_place", figure(leaf.start + 1), figure(leaf.end), figure(leaf.length))}`;
    const here = make("mark", { textContent: leaf.text });
    find("#leaf-text").lang = tongue(leaf.text);
    find("#leaf-text").replaceChildren(leaf.before, here, leaf.after);
    find("#page").showModal();
    here.scrollIntoView({ block: "center" });
  } catch (error) {
    refuse(error);
  }
}

// -- the page ---------------------------------------------------------------------------------------------------

async function holds() {
  try {
    const { documents, passages, unreadable } = await api.listed("v1/search");
    find("#holds").textContent = say("search_holds", figure(documents), figure(passages)) + (unreadable ? ` ${say("search_unread", figure(unreadable))}` : "");
  } catch (error) {
    find("#holds").textContent = error.words ?? String(error);
    for (const control of find("#ask").elements) control.disabled = true;
  }
}

async function who() {
  const { models } = await api.models();
  const chosen = find("#who").value;
  find("#who").replaceChildren(...["", ...models].map((model) =>
    make("option", { value: model, textContent: model || say("search_nobody"), selected: model === chosen })));
}

/** One after the other: the first may have to ask for a key. */
async function turned() {
  await holds();
  await who();
}

find("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = find("#wanted").value.trim();
  if (!question) return;
  find("#wanted").value = "";
  ask(question);
});
find("#who").addEventListener("change", () => { find("#free").hidden = !find("#who").value; });
find("#anew").addEventListener("click", () => {
  running?.abort();
  asked.length = 0;
  find("#turns").replaceChildren();
  find("#anew").hidden = true;
  find("#wanted").focus();
});
find("#shut").addEventListener("click", () => find("#page").close());

head.begin(turned);
turned();
find("#wanted").focus();
