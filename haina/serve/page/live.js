// The answer for people who hear the page: whole sentences, once each, as they come. The text itself is set anew with
// every piece and would be read from the start again and again, so it is no live region; this is.

import { find, make, tongue } from "./dom.js";

const SENTENCES = /^[^]*(?:[。！？\n]|[.!?](?=\s))/; // all that are whole

let said = 0; // characters of the answer that were told
let listening = false;

export function begin() {
  said = 0;
  listening = true;
  find("#live").replaceChildren();
}

/** Tell the sentences that became whole; at the end also the rest. */
export function hear(text, ended = false) {
  if (!listening) return;
  listening = !ended;
  const news = text.slice(said);
  const whole = ended ? news : (news.match(SENTENCES)?.[0] ?? "");
  if (!whole.trim()) return;
  said += whole.length;
  tell(whole.trim());
}

export function tell(words) {
  find("#live").append(make("p", { textContent: words, lang: tongue(words) }));
}
