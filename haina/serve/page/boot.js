// Before the first paint: the colours and the language that were chosen here before. No module, so that it runs at once.
"use strict";
{
  const kept = (name) => {
    try { return localStorage.getItem(name); } catch { return null; } // storage may be forbidden
  };
  const root = document.documentElement;
  root.dataset.theme = kept("haina-theme") || "auto";
  root.lang = kept("haina-language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}
