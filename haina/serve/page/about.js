// What the models here say of themselves: the cards in their folders. They are files of others: render.js shows them.

import * as api from "./api.js";
import { find, make } from "./dom.js";
import * as head from "./head.js";
import { render } from "./render.js";
import { learn, say } from "./words.js";

learn({
  no_card: ["The folder of this model has no card.", "这个模型的目录里没有模型卡。"],
});

const model = find("#model");

async function show() {
  location.replace(`#${encodeURIComponent(model.value)}`);
  find("#card").replaceChildren();
  find("#none").textContent = "";
  try {
    const { card } = await api.listed(`page/card?name=${encodeURIComponent(model.value)}`);
    if (card) find("#card").replaceChildren(render(card));
    else find("#none").textContent = say("no_card");
  } catch (error) {
    if (!(error instanceof api.Refusal)) throw error;
    find("#none").textContent = error.words;
  }
}

async function start() {
  head.begin(show);
  const { models } = await api.models();
  const asked = decodeURIComponent(location.hash.slice(1));
  model.replaceChildren(...models.map((name) => make("option", { value: name, textContent: name, selected: name === asked })));
  model.addEventListener("change", show);
  await show();
}

start();
