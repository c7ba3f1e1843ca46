// The panel: who the model should be, and how its words are chosen. What is left empty is the model's own, shown as
// the field's placeholder; every change belongs to the conversation in view.

import { find, make } from "./dom.js";
import { say } from "./words.js";

const KNOBS = { // from, to, step
  temperature: [0, 2, 0.05],
  top_p: [0.01, 1, 0.01],
  top_k: [0, 1000, 1],
  min_p: [0, 1, 0.01],
  repetition_penalty: [0.5, 2, 0.01],
  max_tokens: [1, null, 1],
  seed: [0, null, 1],
};
const panel = find("#settings");
const truncation = find("#truncation");

/** `change` gets all settings whenever one was changed; `opened` fills the panel. */
export function begin({ change, opened }) {
  find("#open-settings").addEventListener("click", () => {
    opened();
    panel.showModal();
  });
  panel.addEventListener("click", (event) => {
    if (event.target === panel) panel.close(); // beside it
  });
  panel.addEventListener("change", (event) => {
    if (event.target.form.checkValidity()) change(read());
    else event.target.reportValidity();
  });
  find("#reset").addEventListener("click", () => {
    for (const field of panel.querySelectorAll("#knobs input, textarea")) field.value = "";
    truncation.checked = false;
    change(read());
  });
}

/** Put a conversation's settings into the panel; `model` tells what holds where nothing is set. */
export function show(settings, model) {
  panel.querySelector("textarea").value = settings.system ?? "";
  find("#about").href = `about#${encodeURIComponent(model.name)}`;
  truncation.checked = settings.truncation === "auto";
  find("#knobs").replaceChildren(...Object.keys(KNOBS).map((name) => knob(name, settings[name], model.defaults[name])));
}

function knob(name, value, own) {
  const [min, max, step] = KNOBS[name];
  const input = make("input", { type: "number", name, value: value ?? "", placeholder: own ?? "", id: `knob-${name}`, "aria-describedby": `why-${name}` });
  input.inputMode = step < 1 ? "decimal" : "numeric";
  input.min = min;
  input.step = step < 1 ? "any" : step;
  if (max !== null) input.max = max;
  return make("div", { className: "knob" },
    make("label", { htmlFor: input.id, textContent: say(name) }), input,
    make("small", { id: `why-${name}`, textContent: say(`${name}_why`) }));
}

function read() {
  const settings = {};
  const system = panel.querySelector("textarea").value.trim();
  if (system) settings.system = system;
  if (truncation.checked) settings.truncation = "auto";
  for (const input of panel.querySelectorAll("#knobs input")) {
    if (input.value !== "") settings[input.name] = Number(input.value);
  }
  return settings;
}
