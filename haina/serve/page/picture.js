// A poem as a picture: columns from right to left on paper, drawn here and handed over as a PNG.

import { save } from "./dom.js";

const CELL = 60; // pixels from one character to the next
const COLUMN = 92;
const MARGIN = 80;
const LIGHT = { paper: "#fbf8f1", ink: "#26221d", faint: "#8a8175", seal: "#a33b2e" };

/** Draw and save; `tones` with the marks beside the characters. */
export async function picture(poem, title, tones) {
  const columns = poem.lines.map((line) => ({ ...line, chars: [...line.text].slice(0, [...line.tones].length) }));
  const height = CELL * Math.max(...columns.map(({ chars }) => chars.length), 5) + 2 * MARGIN;
  const canvas = document.createElement("canvas");
  canvas.width = COLUMN * (columns.length + 1) + 2 * MARGIN;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = LIGHT.paper;
  pen.fillRect(0, 0, canvas.width, height);
  pen.strokeStyle = LIGHT.faint;
  pen.strokeRect(28.5, 28.5, canvas.width - 57, height - 57);
  let x = canvas.width - MARGIN - COLUMN / 2;
  const family = getComputedStyle(document.body).fontFamily;
  column(pen, [...title], x, LIGHT.faint, `26px ${family}`, 34);
  for (const line of columns) {
    x -= COLUMN;
    column(pen, line.chars, x, LIGHT.ink, `42px ${family}`, CELL, line.rhyme ? LIGHT.seal : LIGHT.ink);
    if (tones) column(pen, [...line.tones], x + 34, LIGHT.faint, `15px ${family}`, CELL);
  }
  stamp(pen, family, height);
  save(await new Promise((done) => { canvas.toBlob(done, "image/png"); }), `${title}.png`);
}

function column(pen, chars, x, colour, font, step, last = colour) {
  pen.font = font;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  chars.forEach((char, i) => {
    pen.fillStyle = i === chars.length - 1 ? last : colour;
    pen.fillText(char, x, MARGIN + step * (i + 0.5));
  });
}

/** The seal in the lower left corner. */
function stamp(pen, family, height) {
  pen.fillStyle = LIGHT.seal;
  pen.fillRect(52, height - 104, 34, 56);
  column(pen, [], 0, LIGHT.paper, `22px ${family}`, 0);
  pen.fillStyle = LIGHT.paper;
  pen.fillText("海", 69, height - 88);
  pen.fillText("纳", 69, height - 63);
}
