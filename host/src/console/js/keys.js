// Keys for what can be clicked. The page lists them; a single key never decides anything: it goes to a page or moves the focus.
"use strict";
(() => {
  const list = document.getElementById("shortcuts");
  const choice = document.getElementById("keys-on");
  let leads = false;

  const stored = () => { try { return localStorage.getItem("chaperone.keys"); } catch { return null; } };
  choice.checked = stored() !== "off";
  choice.closest("label").hidden = false;
  choice.addEventListener("change", () => {
    try { localStorage.setItem("chaperone.keys", choice.checked ? "on" : "off"); } catch { /* only for this page then */ }
  });

  function step(by) {
    const all = [...document.querySelectorAll("[data-step]")];
    const at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
    if (next) next.focus();
  }

  function pressed(key) {
    if (leads) {
      leads = false;
      const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      if (link) link.click();
      return Boolean(link);
    }
    switch (key) {
      case "?":
        list.open = !list.open;
        list.querySelector("summary").focus();
        return true;
      case "g": leads = true; return true;
      case "j": step(1); return true;
      case "k": step(-1); return true;
    }
    const place = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (place) place.focus();
    return Boolean(place);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const writing = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (writing) {
      if (event.key === "Escape") writing.blur();
      return;
    }
    if (event.key === "Escape") { list.open = false; leads = false; return; }
    if (choice.checked && event.key.length === 1 && pressed(event.key)) event.preventDefault();
  });
})();
