// Formulas in Markdown: $…$ and \(…\) in a line, $$…$$ and \[…\] on their own. A plug-in for markdown-it that marks
// them; it does not set them. A dollar opens only before a non-space and closes only after one and not before a digit
// (pandoc's rule, tex_math_dollars), so that prices stay prices.

const FENCES = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false]];

export function math(md) {
  md.inline.ruler.before("escape", "math", inline);
  md.block.ruler.before("fence", "math", block, { alt: ["paragraph", "reference", "blockquote", "list"] });
  md.renderer.rules.math = (tokens, at) => set("span", tokens[at].content);
  md.renderer.rules.math_block = (tokens, at) => set("div", tokens[at].content);
  const set = (tag, tex) => `<${tag} class="math">${md.utils.escapeHtml(tex)}</${tag}>`;
}

function inline(state, silent) {
  for (const [open, close, display] of FENCES) {
    if (!state.src.startsWith(open, state.pos)) continue;
    const from = state.pos + open.length;
    const to = end(state.src, close, from);
    if (to < 0 || (open === "$" && !dollars(state.src, from, to))) continue;
    if (!silent) state.push(display ? "math_block" : "math", "", 0).content = state.src.slice(from, to);
    state.pos = to + close.length;
    return true;
  }
  return false;
}

/** Where the closing fence stands; backslashes before a dollar are minded. -1: nowhere, or nothing is between. */
function end(source, close, from) {
  let to = source.indexOf(close, from);
  while (to > 0 && close[0] === "$" && source[to - 1] === "\\") to = source.indexOf(close, to + 1);
  return source.slice(from, to).trim() ? to : -1;
}

const dollars = (source, from, to) =>
  /\S/.test(source[from]) && /\S/.test(source[to - 1]) && !/\d/.test(source[to + 1] ?? "");

function block(state, first, last, silent) {
  const line = (at) => state.src.slice(state.bMarks[at] + state.tShift[at], state.eMarks[at]);
  const fence = FENCES.find(([open, , display]) => display && line(first).startsWith(open));
  if (!fence) return false;
  const [open, close] = fence;
  let text = line(first).slice(open.length);
  let at = first;
  while (!text.trimEnd().endsWith(close)) {
    if (++at >= last || text.includes(close)) return false;
    text += `\n${line(at)}`;
  }
  const tex = text.trimEnd().slice(0, -close.length);
  if (!tex.trim() || tex.includes(close)) return false;
  if (silent) return true;
  const token = state.push("math_block", "", 0);
  token.content = tex;
  token.map = [first, at + 1];
  state.line = at + 1;
  return true;
}
