// What the page asks of the server: conversations under /page, answers by /v1/chat/completions like everyone else.
// It knows HTTP and the stream's format, and nothing of the screen.

import { figure, known, say } from "./words.js";

let key = sessionStorage.getItem("haina-key") ?? "";
let askForKey = async () => null;

/** How to get an API key from the reader when the server wants one. */
export function onKeyWanted(get) { askForKey = get; }

/** An answer that is no answer: why, as a code of the server's or a name of ours, and what belongs into its words. */
export class Refusal extends Error {
  constructor(code, values = [], message = "") {
    super(message || code);
    this.code = code;
    this.values = values;
  }

  /** For the reader, in their language; the server's own where the page knows none. */
  get words() { return known(this.code) ? say(this.code, ...this.values) : this.message; }
}

async function send(path, { method = "GET", body, signal, keepalive = false } = {}) {
  for (;;) {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers, signal, keepalive, body: body && JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("unreachable");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      const given = await askForKey(Boolean(key));
      if (given !== null) {
        key = given;
        sessionStorage.setItem("haina-key", key);
        continue;
      }
    }
    throw await refusal(answer);
  }
}

async function refusal(answer) {
  const body = await answer.json().catch(() => ({})); // a proxy's has no JSON
  return refused(body.error ?? {}, answer.headers.get("retry-after"), `${answer.status} ${answer.statusText}`);
}

/** What OpenAI's shape of an error says, here with the numbers that llama.cpp adds to it. */
function refused({ code, message, n_prompt_tokens: prompt, n_ctx: context }, wait, otherwise = "") {
  if (code !== "context_length_exceeded") return new Refusal(code ?? "", [wait ?? "5"], message ?? otherwise);
  if (prompt < context) return new Refusal("asked_too_much", [figure(context - prompt)], message);
  return new Refusal(code, [figure(prompt), figure(context)], message);
}

const read = async (path, options) => (await send(path, options)).json();
const of = (id) => `page/conversations/${id}`;

export const models = () => read("page/models");
export const model = (name) => read(`page/model?name=${encodeURIComponent(name)}`);
export const talks = () => read("page/conversations");
export const talk = (id) => read(of(id));
export const createTalk = (title, settings) => read("page/conversations", { method: "POST", body: { title, settings } });
export const changeTalk = (id, change) => read(of(id), { method: "PATCH", body: change });
export const deleteTalk = (id) => read(of(id), { method: "DELETE" });
export const deleteTalks = () => read("page/conversations", { method: "DELETE" });
export const append = (id, message, leaving = false) =>
  read(`${of(id)}/messages`, { method: "POST", body: message, keepalive: leaving });
export const exported = async (id, form) => (await send(`${of(id)}/export?form=${form}`)).blob();
/** What an application answers; refused in words by Refusal. */
export const asked = (path, body, signal) => read(path, { method: "POST", body, signal });
export const listed = (path) => read(path);
export const removed = (path) => read(path, { method: "DELETE" });

/** The same as it is found: [name, value] of each event of the stream. */
export async function* events(path, body, signal) {
  const response = await send(path, { method: "POST", body, signal });
  let name = "";
  for await (const line of lines(response.body)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) {
      const value = JSON.parse(line.slice(5));
      if (value.error) throw refused(value.error, null);
      yield [name, value];
    }
  }
}
export const exportedAll = async () => (await send("page/export")).blob();

/**
 * An answer as it comes: {progress: [done, total]}, {text}, {finish}, {usage}. Aborting the signal ends the request,
 * and the server stops computing.
 */
export async function* answer(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", { method: "POST", body, signal });
  for await (const line of lines(response.body)) {
    if (line.startsWith(":")) {
      const numbers = line.match(/(\d+)\s*\/\s*(\d+)/);
      if (numbers) yield { progress: [Number(numbers[1]), Number(numbers[2])] };
    } else if (line.startsWith("data:")) {
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield* parts(JSON.parse(data));
    }
  }
  throw new Refusal("broken");
}

function* parts(chunk) {
  if (chunk.error) throw refused(chunk.error, null);
  const choice = chunk.choices?.[0];
  if (choice?.delta?.content) yield { text: choice.delta.content };
  if (choice?.finish_reason) yield { finish: choice.finish_reason };
  if (chunk.usage) yield { usage: chunk.usage };
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Refusal("broken");
    });
    if (done) break;
    const split = (rest + value).split("\n");
    rest = split.pop();
    for (const line of split) yield line.trimEnd();
  }
  if (rest) yield rest;
}
