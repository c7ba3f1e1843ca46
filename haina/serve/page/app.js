// The page, joined: which conversation is in view, and who is told when it changes.

import * as api from "./api.js";
import * as composer from "./composer.js";
import * as contents from "./contents.js";
import { ask, button, find, make, save, tongue } from "./dom.js";
import * as head from "./head.js";
import * as live from "./live.js";
import * as settings from "./settings.js";
import { Talk } from "./talk.js";
import * as thread from "./thread.js";
import { figure, say } from "./words.js";

const LOCAL = /^(localhost|127\.[\d.]+|\[::1\])$/;
const open = new Map(); // conversations by id that were looked at: their answers go on while another is in view
let talk = null; // the one in view
let model = null; // its model: name, context, settings of its own
let kept = []; // all conversations, without their messages
let unsaved = null; // the file in which they cannot be kept

// -- what is in view ----------------------------------------------------------------------------------------

function view(next) {
  talk = next;
  composer.turn(talk);
  showAll();
  if (talk.tree.leaf !== null) thread.toEnd();
}

function showAll() {
  if (!talk) return;
  find("#unsaved").hidden = !unsaved;
  find("#unsaved").textContent = unsaved ? say("not_kept", unsaved) : "";
  showTalk();
  contents.show(kept, talk.id);
}

function showTalk() {
  talk.context = model.context;
  const empty = talk.tree.leaf === null;
  find("#title").classList.toggle("first", empty);
  const name = empty ? "海纳" : talk.title || say("untitled");
  find("#name").textContent = name;
  find("#name").lang = tongue(name);
  document.title = empty ? "海纳 haina" : `${name} · 海纳`;
  find("#talk-acts").replaceChildren(...(empty ? greeting() : acts()));
  if (empty) find("#thread").replaceChildren(suggestions());
  else thread.show(talk);
  composer.show(Boolean(talk.draft));
  showFigures();
}

function showFigures() {
  const used = talk.used;
  const gauge = find("#gauge");
  gauge.hidden = !model || !used;
  find("#speed").textContent = talk.draft?.perSecond ? say("per_s", figure(talk.draft.perSecond)) : "";
  if (gauge.hidden) return;
  gauge.setAttribute("aria-valuemax", model.context);
  gauge.setAttribute("aria-valuenow", used);
  gauge.setAttribute("aria-valuetext", say("context_of", figure(used), figure(model.context)));
  gauge.querySelector(".bar span").style.width = `${Math.min(100, (100 * used) / model.context)}%`;
  gauge.querySelector(".figures").textContent = say("context_of", figure(used), figure(model.context));
}

const greeting = () => [
  make("span", { className: "motto", textContent: say("motto") }),
  ...(LOCAL.test(location.hostname) ? [make("span", { textContent: say("private") })] : []),
];

const suggestions = () => make("p", { className: "suggestions" },
  ...["try_1", "try_2", "try_3"].map((name) => button(say(name), () => send(say(name)), { lang: tongue(say(name)) })));

// -- what the reader does -----------------------------------------------------------------------------------

const acts = () => [
  button(say("rename"), rename),
  button(say("export_md"), () => keep(api.exported(talk.id, "md"), `${talk.title || "haina"}.md`)),
  button(say("export_json"), () => keep(api.exported(talk.id, "json"), `${talk.title || "haina"}.json`)),
  button(say("delete"), remove),
];

const keep = async (blob, name) => save(await blob, name.replace(/[\\/:*?"<>|]/g, "-"));

async function send(text) {
  if (!model.chat) {
    live.tell(say("base"));
    composer.write(text);
    talk.trouble = new api.Refusal("base");
    return thread.show(talk);
  }
  const asked = talk;
  try {
    await asked.ask(text);
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    if (asked === talk) composer.write(text); // nothing that was written is lost
    await notice(say("unsaved", error.words));
  }
}

async function rename() {
  const title = await ask(say("rename_to"), say("done"), { text: talk.title });
  if (title === null) return;
  await talk.change({ title: title.trim().slice(0, 200) });
  await refresh();
  showTalk();
}

async function remove() {
  if ((await ask(say("delete_this"), say("delete_yes"))) === null) return;
  talk.stop();
  await api.deleteTalk(talk.id);
  open.delete(talk.id);
  await startNew();
}

async function removeAll() {
  if ((await ask(say("delete_them"), say("delete_yes"))) === null) return;
  for (const one of open.values()) one.stop();
  await api.deleteTalks();
  open.clear();
  await startNew();
}

async function startNew() {
  await refresh();
  if (location.hash) location.hash = "";
  else view(fresh());
  contents.toggle(false);
  composer.focus();
}

/** Tell the reader something; there is nothing to choose. */
const notice = (words) => ask(words, say("done"));

function fresh() {
  const made = new Talk();
  made.settings.model = model.name;
  return watched(made);
}

function watched(made) {
  made.addEventListener("said", () => said(made));
  made.addEventListener("more", () => {
    if (made !== talk) return;
    thread.grow(made);
    showFigures();
  });
  return made;
}

async function said(changed) {
  if (changed.id !== null && !open.has(changed.id)) {
    open.set(changed.id, changed);
    if (changed === talk) history.replaceState(null, "", `#${changed.id}`);
  }
  if (changed === talk) {
    showTalk();
    if (changed.draft) thread.toEnd();
    const last = changed.tree.branch().at(-1);
    if (!changed.draft && last?.role === "assistant") live.hear(last.content, true);
  }
  await refresh();
}

async function refresh() {
  kept = await api.talks();
  contents.show(kept, talk?.id);
}

// -- which conversation, which model ------------------------------------------------------------------------

async function follow() {
  const id = location.hash.slice(1);
  contents.toggle(false);
  if (id && id === talk?.id) return;
  if (!id) return view(fresh());
  try {
    if (!open.has(id)) open.set(id, watched(new Talk(await api.talk(id))));
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    location.hash = "";
    return;
  }
  view(open.get(id));
  await choose(talk.settings.model);
  talk.settings.model = model.name; // another one if the old is not served any more
  showFigures();
}

/** Take a model; the default if there is none of this name any more. */
async function choose(name) {
  if (model && model.name === name) return;
  const select = find("#model");
  const names = [...select.options].map((option) => option.value);
  select.disabled = true; // it may have to be loaded
  try {
    model = await api.model(names.includes(name) ? name : names[0]);
  } finally {
    select.disabled = names.length < 2;
    if (model) select.value = model.name;
  }
}

/** What the page needs before anything can be done. */
async function load() {
  const served = await api.models();
  unsaved = served.unsaved;
  find("#model").replaceChildren(...served.models.map((name) => make("option", { value: name, textContent: name })));
  await choose(served.models[0]);
  kept = await api.talks();
}

async function start() {
  head.begin(showAll);
  composer.show(false);
  try {
    await load();
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    find("#thread").replaceChildren(
      make("p", { className: "note", role: "alert", textContent: error.words }), button(say("retry"), () => location.reload()));
    return;
  }
  contents.begin();
  composer.begin({ send, stop: () => talk.stop(), busy: () => Boolean(talk.draft) });
  settings.begin({
    opened: () => settings.show(talk.settings, model),
    change: (chosen) => talk.change({ settings: { ...chosen, model: model.name } }),
  });
  find("#new").addEventListener("click", startNew);
  find("#export-all").addEventListener("click", () => keep(api.exportedAll(), "haina.json"));
  find("#delete-all").addEventListener("click", removeAll);
  find("#model").addEventListener("change", async (event) => {
    await choose(event.target.value);
    await talk.change({ settings: { ...talk.settings, model: model.name } });
    showFigures();
  });
  find(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // what stands behind # is the conversation
    composer.focus();
  });
  addEventListener("hashchange", follow);
  addEventListener("pagehide", () => {
    for (const one of open.values()) if (one.draft) one.keep(true); // as far as it came
  });
  await follow();
  composer.focus();
}

addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof api.Refusal)) return;
  event.preventDefault();
  notice(event.reason.words);
});
start();
