// The reference for people: what openapi.json says, as a page, with a place to try each endpoint. It loads nothing else.

import { button, copy, find, fit, make } from "./dom.js";
import * as head from "./head.js";
import { language, say } from "./words.js";

const KEY = "haina-key"; // as the page keeps it
let reference = null;

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(options.body && { "Content-Type": "application/json" }) };
  return fetch(path.replace(/^\//, ""), { ...options, headers });
}

// -- types --------------------------------------------------------------------------------------------------

/** A type in few words: the schema's name, its kinds, or its values. */
function kind(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map(kind))].filter((name) => name !== "null").join(" | ") || "null";
  if (schema.type === "array") return `[${kind(schema.items)}]`;
  const [least, most] = [schema.minimum ?? schema.exclusiveMinimum, schema.maximum]
    .map((end) => (Math.abs(end) < 1e9 ? end : "")); // what is beyond is what fits into a number
  return (schema.type ?? "any") + (least !== "" || most !== "" ? ` ${least}…${most}` : "");
}

/** The objects in a type: those whose fields can be shown. */
function objects(schema = {}) {
  if (schema.$ref) return objects(reference.components.schemas[schema.$ref.split("/").pop()]);
  const inside = schema.anyOf ?? schema.oneOf ?? (schema.items ? [schema.items] : []);
  return schema.properties ? [schema] : inside.flatMap(objects);
}

const fields = (schema) => objects(schema).map((whole) => make("dl", {},
  ...Object.entries(whole.properties).filter(([, value]) => kind(value) !== "null").flatMap(([name, value]) => [
    make("dt", {}, make("code", { textContent: name }), whole.required?.includes(name) ? " *" : ""),
    make("dd", {}, type(value)),
  ])));

/** A type; one with fields of its own can be opened. */
function type(schema) {
  if (!objects(schema).length) return kind(schema);
  return opened(kind(schema), () => fields(schema));
}

function opened(words, content) {
  const whole = make("details", { className: "type" }, make("summary", { textContent: words }));
  whole.addEventListener("toggle", () => whole.append(...content()), { once: true });
  return whole;
}

// -- trying -------------------------------------------------------------------------------------------------

function trial(method, path, example) {
  const places = (path.match(/\{\w+\}/g) ?? []).map((name) => make("input", {
    value: name === "{name}" ? served() : "", placeholder: name.slice(1, -1), "aria-label": name.slice(1, -1),
  }));
  const where = () => places.reduce((made, place) => made.replace(/\{\w+\}/, encodeURIComponent(place.value)), path);
  const body = example && make("textarea", {
    rows: JSON.stringify(example, null, 2).split("\n").length, value: JSON.stringify(example, null, 2),
    "aria-label": `${method} ${path}`, spellcheck: false,
  });
  body?.addEventListener("input", () => fit(body));
  const told = make("pre", { className: "told", tabIndex: 0, role: "status" });
  const send = button(say("try_it"), async () => {
    told.textContent = "…";
    try {
      const answer = await ask(where(), { method, ...(body && { body: body.value }) });
      told.textContent = `${answer.status}\n${pretty(await answer.text())}`;
    } catch (error) {
      told.textContent = String(error);
    }
  }, { className: "press" });
  const sample = button(say("copy_curl"), (event) => copy(curl(method, where(), body?.value), event.target));
  return [...places, body, make("p", { className: "choice" }, send, sample), told].filter(Boolean);
}

/** A command for a shell that asks the same. */
function curl(method, path, body) {
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${location.origin}${path}`];
  if (sessionStorage.getItem(KEY)) parts.push(`-H "Authorization: Bearer $HAINA_API_KEY"`);
  if (body) parts.push("-H 'Content-Type: application/json'", `-d '${body.replaceAll("'", "'\\''")}'`);
  return parts.join(" \\\n  ");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const served = () => reference.paths["/v1/chat/completions"].post.requestBody.content["application/json"].example.model;

// -- the page -----------------------------------------------------------------------------------------------

const translated = (one, name) => (language() === "zh" && one["x-zh"]) || one[name];

/** A text in which `this` is code. */
const rich = (text) => text.split("`").map((part, at) => (at % 2 ? make("code", { textContent: part }) : part));

function endpoint({ method, path, operation }) {
  const json = operation.requestBody?.content?.["application/json"];
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  const asked = fields(json?.schema);
  const heard = fields(answer);
  const part = (name, rows) => (rows.length ? [make("h3", { textContent: say(name) }), ...rows] : []);
  return make("details", {},
    make("summary", {}, make("code", { textContent: `${method.toUpperCase()} ${path}` }),
      make("span", {}, ...rich(translated(operation, "summary")))),
    ...(method === "get" || json?.example ? trial(method.toUpperCase(), path, json?.example) : []),
    ...part("request", asked), ...part("response", heard));
}

function show() {
  if (!reference) return;
  document.title = `海纳 haina · ${say("reference")}`;
  const all = Object.entries(reference.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method, path, operation })));
  find("#docs").replaceChildren(
    make("h1", { textContent: say("reference") }),
    make("p", {}, translated(reference.info, "description")),
    make("p", { className: "note" }, `haina ${reference.info.version} · `, make("a", { href: "openapi.json", textContent: "openapi.json" })),
    ...reference.tags.map((tag) => make("section", {},
      make("h2", { textContent: translated(tag, "description") }),
      ...all.filter(({ operation }) => operation.tags?.includes(tag.name)).map(endpoint))));
}

function askForKey(wrong) {
  const field = make("input", { type: "password", autocomplete: "off", "aria-label": say("key") });
  const open = () => {
    sessionStorage.setItem(KEY, field.value);
    load();
  };
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  find("#docs").replaceChildren(
    make("h1", { textContent: say("reference") }), make("p", { role: "status", textContent: say(wrong ? "key_wrong" : "key") }),
    field, make("p", {}, button(say("key_yes"), open, { className: "press" })));
  field.focus();
}

async function load() {
  const answer = await ask("openapi.json");
  if (answer.ok) {
    reference = await answer.json();
    show();
  } else {
    askForKey(Boolean(sessionStorage.getItem(KEY)));
  }
  find("#docs").removeAttribute("aria-busy");
}

head.begin(show);
load();
