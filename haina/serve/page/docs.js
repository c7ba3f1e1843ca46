// The reference for people: what openapi.json says, as a page, with a place to try each endpoint. It loads nothing else.

import { button, find, make } from "./dom.js";

const chinese = document.documentElement.lang === "zh";
const words = (en, zh) => (chinese ? zh : en);
const KEY = "haina-key"; // as the page keeps it

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(options.body && { "Content-Type": "application/json" }) };
  return fetch(path.replace(/^\//, ""), { ...options, headers });
}

/** A type in few words: the schema's name, its kinds, or its values. */
function kind(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map(kind))].filter((name) => name !== "null").join(" | ") || "null";
  if (schema.type === "array") return `[${kind(schema.items)}]`;
  const { minimum, exclusiveMinimum, maximum } = schema.anyOf?.[0] ?? schema;
  const range = [minimum ?? exclusiveMinimum, maximum].some((end) => end !== undefined)
    ? ` ${minimum ?? exclusiveMinimum ?? ""}…${maximum ?? ""}` : "";
  return (schema.type ?? "any") + range;
}

function fields(schema, schemas) {
  const whole = schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema;
  const needed = new Set(whole?.required);
  const rows = Object.entries(whole?.properties ?? {}).filter(([, value]) => kind(value) !== "null");
  if (!rows.length) return [];
  return [make("dl", {}, ...rows.flatMap(([name, value]) => [
    make("dt", {}, make("code", { textContent: name }), needed.has(name) ? " *" : ""),
    make("dd", { textContent: kind(value) }),
  ]))];
}

function trial(method, path, example) {
  const body = example && make("textarea", { rows: 6, value: JSON.stringify(example, null, 2), "aria-label": `${method} ${path}` });
  const place = path.includes("{") && make("input", { value: path, "aria-label": words("path", "路径") });
  const told = make("pre", { tabIndex: 0, role: "status" });
  const send = button(words("Try it", "试一试"), async () => {
    told.textContent = "…";
    try {
      const answer = await ask(place ? place.value : path, { method, ...(body && { body: body.value }) });
      told.textContent = `${answer.status}\n${await answer.text()}`;
    } catch (error) {
      told.textContent = String(error);
    }
  });
  return [place, body, send, told].filter(Boolean);
}

function endpoint(method, path, operation, schemas) {
  const json = operation.requestBody?.content?.["application/json"];
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  const heard = fields(answer, schemas);
  return make("details", {},
    make("summary", {}, make("code", { textContent: `${method.toUpperCase()} ${path}` }),
      make("span", { textContent: operation.description ?? operation.summary ?? "" })),
    ...fields(json?.schema, schemas),
    ...(heard.length ? [make("h3", { textContent: words("Answer", "回答") }), ...heard] : []),
    ...(method === "get" || json?.example ? trial(method.toUpperCase(), path, json?.example) : []));
}

function show(reference) {
  const schemas = reference.components.schemas;
  const all = Object.entries(reference.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method, path, operation })));
  find("#docs").replaceChildren(
    make("h1", { textContent: `${reference.info.title} ${reference.info.version}` }),
    make("p", {}, reference.info.description.split(" / ")[chinese ? 1 : 0]),
    make("p", {}, make("a", { href: "openapi.json", textContent: "openapi.json" })),
    ...reference.tags.map(({ name, description }) => make("section", {},
      make("h2", { textContent: description }),
      ...all.filter(({ operation }) => operation.tags?.includes(name))
        .map(({ method, path, operation }) => endpoint(method, path, operation, schemas)))));
}

async function start() {
  find("#home").textContent = words("Conversation", "对话");
  const answer = await ask("openapi.json");
  if (answer.ok) {
    show(await answer.json());
  } else {
    const field = make("input", { type: "password", autocomplete: "off", "aria-label": words("API key", "密钥") });
    const open = () => { sessionStorage.setItem(KEY, field.value); start(); };
    find("#docs").replaceChildren(
      make("p", { textContent: words("This server wants a key.", "此服务需要密钥。") }), field, button(words("Open", "打开"), open));
  }
  find("#docs").removeAttribute("aria-busy");
}

start();
