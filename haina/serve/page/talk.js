// One conversation: its messages, and the answer in the making. It asks the server and tells whoever listens:
// "said" when a message came or another branch is looked at, "more" when the answer grew. It knows no screen.

import * as api from "./api.js";
import { Tree } from "./tree.js";

const KNOBS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed", "truncation"];
const NEARLY = 0.85; // of the context
const TITLE = 40; // characters of the first question

export class Talk extends EventTarget {
  constructor(kept = { id: null, title: "", settings: {}, messages: [], leaf: null }) {
    super();
    this.id = kept.id;
    this.title = kept.title;
    this.settings = kept.settings;
    this.tree = new Tree(kept.messages, kept.leaf);
    this.draft = null; // the answer in the making
    this.trouble = null; // why there is none: a Refusal
    this.context = Infinity; // the model's, in tokens
  }

  /** Tokens of the context that are used, as far as it is known. */
  get used() {
    const about = this.tree.branch().findLast((message) => message.role === "assistant")?.about ?? {};
    return this.draft?.usage?.total_tokens ?? (about.prompt_tokens ?? 0) + (about.new_tokens ?? 0);
  }

  /** "full" if nothing more fits, "nearly" if little does, "" otherwise, or where the oldest turns make room. */
  get fullness() {
    if (this.settings.truncation || this.tree.branch().length < 2) return "";
    if (this.trouble?.code === "context_length_exceeded" || this.used >= this.context) return "full";
    return this.used >= NEARLY * this.context ? "nearly" : "";
  }

  /** From now on without the oldest turns; what was asked last is answered. */
  async goOn() {
    await this.change({ settings: { ...this.settings, truncation: "auto" } });
    const last = this.tree.branch().at(-1);
    if (last.role === "user") await this.answer(last.number);
    else this.tell("said");
  }

  tell(what) { this.dispatchEvent(new Event(what)); }

  /** Where the next question belongs: beside one that got no answer, else behind the last answer. */
  get place() {
    const last = this.tree.branch().at(-1);
    return last?.role === "user" ? last.parent : this.tree.leaf;
  }

  /** Say something after the message `parent`, and get an answer. Refusal: it could not be kept. */
  async ask(content, parent = this.place) {
    const title = this.title || [...content.trim().split("\n")[0]].slice(0, TITLE).join("");
    if (this.id === null) this.id = (await api.createTalk(title, this.settings)).id;
    else if (title !== this.title) await api.changeTalk(this.id, { title });
    this.title = title;
    this.tree.add(await api.append(this.id, { parent, role: "user", content }));
    this.trouble = null;
    this.tell("said");
    await this.answer(this.tree.leaf);
  }

  /** Get an answer, or one more, to the message `parent`. */
  async answer(parent) {
    this.draft = new Draft(this.settings.model, parent);
    this.tree.leaf = parent;
    this.trouble = null;
    this.tell("said");
    try {
      await this.draft.fill(this.request(parent), () => this.tell("more"));
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      this.trouble = error;
    } finally {
      await this.keep();
    }
  }

  request(parent) {
    const messages = this.tree.branch(parent).map(({ role, content }) => ({ role, content }));
    if (this.settings.system) messages.unshift({ role: "system", content: this.settings.system });
    const knobs = KNOBS.filter((name) => this.settings[name] !== undefined);
    return { model: this.settings.model, messages, ...Object.fromEntries(knobs.map((name) => [name, this.settings[name]])) };
  }

  /** Put the answer, as far as it came, into the conversation. */
  async keep(leaving = false) {
    const draft = this.draft;
    this.draft = null;
    if (draft?.content) {
      try {
        this.tree.add(await api.append(this.id, draft.message(), leaving));
      } catch (error) {
        if (!(error instanceof api.Refusal)) throw error;
        this.trouble = error;
      }
    }
    this.tell("said");
  }

  stop() { this.draft?.abort.abort(); }

  /** Look at the branch that ends with a message. */
  async go(leaf) {
    this.tree.leaf = leaf;
    this.trouble = null;
    this.tell("said");
    await api.changeTalk(this.id, { leaf });
  }

  async change(change) {
    Object.assign(this, change);
    if (this.id !== null) await api.changeTalk(this.id, change);
  }
}

/** An answer in the making, and what is measured on the way. */
class Draft {
  constructor(model, parent) {
    this.model = model;
    this.parent = parent;
    this.content = "";
    this.progress = null; // [tokens read, of all], until the first word
    this.finish = "stopped";
    this.usage = null;
    this.pieces = 0;
    this.began = this.last = performance.now();
    this.first = null;
    this.abort = new AbortController();
  }

  async fill(request, tell) {
    try {
      for await (const part of api.answer(request, this.abort.signal)) {
        if (part.text) this.add(part.text);
        this.progress = part.progress ?? this.progress;
        this.finish = part.finish ?? this.finish;
        this.usage = part.usage ?? this.usage;
        tell();
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  add(text) {
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
    this.content += text;
  }

  get tokens() { return this.usage?.completion_tokens ?? this.pieces; }

  /** Of the answer after its first; null until there is enough to measure. */
  get perSecond() {
    const seconds = (this.last - (this.first ?? this.last)) / 1000;
    return this.tokens >= 8 && seconds > 0.05 ? (this.tokens - 1) / seconds : null;
  }

  message() {
    const about = { model: this.model, finish: this.finish, new_tokens: this.tokens };
    if (this.usage) about.prompt_tokens = this.usage.prompt_tokens;
    if (this.perSecond) about.tokens_per_s = this.perSecond;
    if (this.first) about.first_s = (this.first - this.began) / 1000;
    return { parent: this.parent, role: "assistant", content: this.content, about };
  }
}
