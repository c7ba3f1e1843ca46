// The desk: what is asked of a poem, the drafts that come back, and changes to the one on the sheet.
// How the sheet looks is verse.js's; how poems are written, the server's.

import { asked, listed, Refusal } from "./api.js";
import { button, copy, find, make } from "./dom.js";
import * as head from "./head.js";
import { picture } from "./picture.js";
import { onSelect, selected, show, unselect } from "./verse.js";
import { fill, known, learn, say } from "./words.js";

learn({
  poem_note: ["Every form is kept, whatever the model says. Click characters on the sheet to have them written anew.", "格律必合，由程序保证。点选诗中的字、句、联，即可重写。"],
  poem_kind: ["What to write", "写什么"],
  poem_verse: ["Verse", "诗词"],
  poem_couplet_kind: ["Answer a line", "对下联"],
  poem_quote: ["Lines of poets", "集句"],
  poem_form: ["Form or tune", "体裁或词牌"],
  poem_theme: ["Theme, in English or Chinese", "题目、主题或一句话，中英文皆可"],
  poem_theme_here: ["autumn river", "秋江"],
  poem_couplet: ["Upper line", "上联"],
  poem_write: ["Write", "写"],
  poem_stop: ["Stop", "停"],
  poem_more: ["More wishes", "更多要求"],
  poem_keywords: ["Words that must occur", "必须出现的词"],
  poem_keywords_here: ["with commas between", "用逗号分隔"],
  poem_acrostic: ["Acrostic, a character a line", "藏头，每句一字"],
  poem_at: ["Where in the line", "藏于句中何处"],
  poem_at_first: ["first", "句首"],
  poem_at_last: ["last", "句末"],
  poem_at_nth: ["character {0}", "第 {0} 字"],
  poem_given: ["Given verse", "已有的诗句"],
  poem_given_here: ["it is continued; □ is filled", "据此续写，□ 为待填之字"],
  poem_author: ["In the manner of", "仿某位诗人"],
  poem_book: ["Rhyme book", "韵书"],
  poem_usual: ["as usual", "依惯例"],
  poem_pingshui: ["Pingshui", "平水韵"],
  poem_cilin: ["Cilin", "词林正韵"],
  poem_xinyun: ["Modern", "中华新韵"],
  poem_rhyme: ["Rhyme", "韵部"],
  poem_pattern: ["Pattern", "格式"],
  poem_any: ["any", "不限"],
  poem_number: ["Form of the tune", "第几体"],
  poem_lines: ["Lines", "句数"],
  poem_seed: ["Seed", "随机种子"],
  poem_twists: ["Allow twists of tone", "允许拗救"],
  poem_near: ["First line may borrow a rhyme", "首句可用邻韵"],
  poem_across: ["Horizontal", "横排"],
  poem_tones: ["Tones and rhymes", "平仄与韵脚"],
  poem_picture: ["Save picture", "存为图片"],
  poem_print: ["Print", "打印"],
  poem_back: ["Back to the one before", "返回上一稿"],
  poem_sheet: ["The poem", "诗稿"],
  poem_select: ["The poem, to select what is to be written anew", "诗文，可点选要重写之处"],
  poem_line: ["Line {0}", "第 {0} 句"],
  poem_level: ["level", "平"],
  poem_oblique: ["oblique", "仄"],
  poem_rhymes: ["rhyme", "韵"],
  poem_unit: ["Click selects", "点选"],
  poem_unit_char: ["a character", "字"],
  poem_unit_line: ["a line", "句"],
  poem_unit_couplet: ["a couplet", "联"],
  poem_scope: ["The rest", "其余"],
  poem_keep: ["stays", "不动"],
  poem_scope_line: ["of the line adapts", "本句随改"],
  poem_scope_couplet: ["of the couplet adapts", "本联随改"],
  poem_scope_all: ["adapts everywhere", "全篇随改"],
  poem_instead: ["Put instead", "换成"],
  poem_rewrite: ["Rewrite", "重写"],
  poem_unselect: ["Clear selection", "取消选择"],
  poem_drafts: ["Drafts, best first", "诸稿，优者在前"],
  poem_why: ["Pattern and rhyme", "格律"],
  poem_signs: ["○ level, ● oblique, △ level rhyme, ▲ oblique rhyme; a dot beside a character: its word is usually said in the other tone.", "○ 平，● 仄，△ 平韵，▲ 仄韵；字旁加点：按词义通常不读此声。"],
  poem_th_line: ["Line", "句"],
  poem_th_pattern: ["Asked, and here", "谱与此作"],
  poem_th_rhyme: ["Rhyme", "韵"],
  poem_like: ["Lines by poets like these", "前人相近的诗句"],
  poem_copied: ["Somebody wrote this line before.", "此句前人已有。"],
  poem_written: ["{0} drafts written; the best is on the sheet.", "已写成 {0} 稿，最优者在纸上。"],
  poem_writing: ["Writing…", "正在写……"],
});

const PATTERNS = ["平起首句入韵", "平起首句不入韵", "仄起首句入韵", "仄起首句不入韵"];
const OLD_PATTERNS = ["平韵首句入韵", "平韵首句不入韵", "仄韵首句入韵", "仄韵首句不入韵"];
const BOOKS = { "": "poem_usual", 平水韵: "poem_pingshui", 词林正韵: "poem_cilin", 中华新韵: "poem_xinyun" };
const SCOPES = { keep: "poem_keep", line: "poem_scope_line", couplet: "poem_scope_couplet", all: "poem_scope_all" };
const UNITS = { char: "poem_unit_char", line: "poem_unit_line", couplet: "poem_unit_couplet" };

const wish = find("#wish");
const tunes = new Map(); // by each name
let drafts = []; // as the server told them
let here = 0; // the one on the sheet
let last = {}; // what was asked for them
let past = []; // the drafts before: [drafts, here, last]
let running = null;

// -- what is asked ---------------------------------------------------------------------------------------------------

const kind = () => wish.elements.kind.value;

/** The fields of a request, those left out that are empty or not of this kind. */
function body() {
  const found = { poems: 8, references: true, quote: kind() === "quote" };
  for (const field of wish.querySelectorAll("[name]:not([name=kind])")) {
    const of = field.closest("[data-of]")?.dataset.of ?? "";
    const value = field.type === "checkbox" ? field.checked : field.value.trim();
    if (!value || field.closest("[hidden]") || (of && !of.includes(kind()))) continue;
    found[field.name] = ["at", "number", "lines", "seed"].includes(field.name) ? Number(value) : value;
  }
  return found;
}

async function write(request, kept) {
  if (running) { running.abort(); return; }
  running = new AbortController();
  busy(true);
  try {
    const { poems } = await asked("v1/poems", request, running.signal);
    if (kept) past.push(kept);
    else past = [];
    [drafts, here, last] = [poems, 0, request];
    render();
    find("#likes").open = drafts[here].lines.length <= 8; // the lists of long ones are long
    find("#told").textContent = say("poem_written", poems.length);
  } catch (error) {
    if (error instanceof Refusal) find("#alert").textContent = ofFields(error.words);
    else if (error.name !== "AbortError") throw error;
  } finally {
    running = null;
    busy(false);
  }
}

/** A refusal in the words of this page: its fields in place of the verb's options. */
const ofFields = (words) => words.replace(/--([a-z]+)/g, (flag, name) => (known(`poem_${name}`) ? `“${say(`poem_${name}`)}”` : flag));

function busy(now) {
  if (now) find("#alert").textContent = "";
  find("#write").textContent = say(now ? "poem_stop" : "poem_write");
  if (now) find("#told").textContent = say("poem_writing");
  find("#desk").setAttribute("aria-busy", String(now));
}

/** Fields that belong to the chosen kind and form. */
function suit() {
  for (const part of wish.querySelectorAll("[data-of]")) part.hidden = !part.dataset.of.includes(kind());
  const form = wish.elements.form.value.trim();
  const shi = /^[五七]言/u.test(form);
  const forms = tunes.get(form)?.forms ?? 1;
  find("#pattern-of").hidden = !shi;
  find("#lines-of").hidden = !(shi && /排律|古风/u.test(form));
  find("#number-of").hidden = forms < 2;
  options(wish.elements.pattern, [["", say("poem_any")], ...(form.includes("古") ? OLD_PATTERNS : PATTERNS).map((name) => [name, name])]);
  options(wish.elements.number, Array.from({ length: forms }, (_, i) => [String(i + 1), String(i + 1)]));
}

function options(select, entries) {
  const value = select.value;
  select.replaceChildren(...entries.map(([name, words]) => make("option", { value: name, textContent: words })));
  if (entries.some(([name]) => name === value)) select.value = value;
}

const named = (entries) => Object.entries(entries).map(([name, words]) => [name, say(words)]);

// -- what came back --------------------------------------------------------------------------------------------------

/** What stands before the first column: the upper line that is answered, or the theme. */
const title = () => last.couplet ?? last.theme ?? "";

function render() {
  const poem = drafts[here];
  find("#work").hidden = false;
  find("#back").hidden = !past.length;
  find("#change").hidden = Boolean(last.couplet || last.quote);
  find("#others").hidden = drafts.length < 2;
  show(poem, title());
  find("#drafts").replaceChildren(...drafts.map(entry));
  find("#pattern-told").textContent = [poem.form, poem.pattern, poem.book, poem.rhymes.join("、")].filter(Boolean).join(" · ");
  find("#why").replaceChildren(table(poem));
  find("#likes").hidden = Boolean(last.quote);
  find("#like").replaceChildren(...poem.lines.flatMap(likes));
}

function entry(poem, number) {
  const chosen = () => { here = number; render(); find("#drafts").children[number].firstChild.focus(); };
  return make("li", {}, button(poem.lines.slice(0, 2).map(({ text }) => text).join(""), chosen, { ...(number === here && { "aria-current": "true" }) }));
}

function table(poem) {
  const heads = ["poem_th_line", "poem_th_pattern", "poem_th_rhyme"];
  const row = (line) => make("tr", {},
    make("td", { textContent: line.text, lang: "zh" }),
    make("td", { lang: "zh" }, line.pattern, make("br"), make("span", { textContent: line.tones, className: "signs" })),
    make("td", { textContent: line.rhyme ?? "", lang: "zh" }));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((name) => make("th", { textContent: say(name), scope: "col" })))),
    make("tbody", {}, ...poem.lines.map(row)));
}

function likes(line) {
  const copied = drafts[here].copied.some((others) => line.text.startsWith(others));
  return [
    make("dt", {}, line.text, ...(copied ? [make("small", { className: "alert", textContent: ` ${say("poem_copied")}` })] : [])),
    ...(line.like ?? []).map((like) => make("dd", {}, make("b", { textContent: like.text }), `　${like.author}《${like.title}》`)),
  ];
}

// -- changing it -----------------------------------------------------------------------------------------------------

/** The verse with what is selected left open, or with another character in its place. */
function given() {
  const chosen = new Set(selected());
  const other = find("#instead").value.trim();
  const chars = drafts[here].lines.flatMap((line) => [...line.text].slice(0, [...line.tones].length));
  return chars.map((char, at) => (chosen.has(at) ? (other && chosen.size === 1 ? `[${other}]` : "□") : char)).join("");
}

find("#change").addEventListener("submit", (event) => {
  event.preventDefault();
  const scope = find("#scope").value;
  const { pattern, seed, ...rest } = last;
  write({ ...rest, given: given(), scope }, [drafts, here, last]);
  find("#instead").value = "";
});

onSelect(() => {
  const count = selected().length;
  find("#rewrite").disabled = find("#unselect").disabled = !count;
  find("#instead-of").hidden = count !== 1;
});

find("#back").addEventListener("click", () => {
  [drafts, here, last] = past.pop();
  render();
});

find("#unselect").addEventListener("click", unselect);
find("#across").addEventListener("change", (event) => find("#sheet").classList.toggle("across", event.target.checked));
find("#tones").addEventListener("change", (event) => find("#sheet").classList.toggle("marked", event.target.checked));
find("#copy").addEventListener("click", (event) => copy(drafts[here].text, event.target));
find("#print").addEventListener("click", () => window.print());
find("#picture").addEventListener("click", () => picture(drafts[here], title() || drafts[here].form, find("#tones").checked));
wish.addEventListener("submit", (event) => { event.preventDefault(); write(body()); });
wish.addEventListener("input", suit);

function turned() {
  const nth = [2, 3, 4, 5, 6, 7].map((n) => [String(n), say("poem_at_nth", n)]);
  options(wish.elements.at, [["1", say("poem_at_first")], ...nth, ["-1", say("poem_at_last")]]);
  options(wish.elements.book, named(BOOKS));
  options(find("#unit"), named(UNITS));
  options(find("#scope"), named(SCOPES));
  suit();
  if (drafts.length) render();
}

head.begin(turned);
turned();
const forms = await listed("v1/poems/forms");
for (const tune of forms.tunes) for (const name of tune.names) if (!tunes.has(name)) tunes.set(name, tune);
find("#forms").replaceChildren(...[...forms.shi, ...tunes.keys()].map((name) => make("option", { value: name })));
suit();
