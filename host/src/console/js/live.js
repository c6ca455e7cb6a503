// Looks again when the gateway says that something has changed, and counts down. Without it a page is right as it was loaded.
// What it shows is always the page itself, asked for anew: the stream says only that there is something to see.
"use strict";
(() => {
  const state = document.getElementById("live");
  const skew = Date.now() - Date.parse(document.body.dataset.now);
  const told = new Map();
  let source = null, asking = false, again = false;

  function say(word, text) {
    if (state.dataset.state === word) return;
    state.dataset.state = word;
    state.textContent = text;
  }

  // Parsed by the browser as a page of its own, in which nothing runs.
  function ask() {
    if (asking) { again = true; return; }
    asking = true;
    const main = document.getElementById("main");
    main.setAttribute("aria-busy", "true");
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.onload = () => {
      const same = request.responseURL.split("#")[0] === location.href.split("#")[0];
      if (request.status === 200 && same && request.responseXML) show(request.responseXML);
      else if (request.status < 500) location.reload();
      else fail();
    };
    request.onerror = fail;
    request.onloadend = () => {
      asking = false;
      main.removeAttribute("aria-busy");
      if (again) { again = false; ask(); }
    };
    request.send();
  }

  function fail() {
    if (state) say("wait", "The gateway does not answer…");
  }

  // Part by part, so that what is being written or looked at stays.
  function show(fresh) {
    const focused = document.activeElement && document.activeElement.id;
    for (const old of document.querySelectorAll("[data-part]")) {
      const next = fresh.getElementById(old.id);
      if (!next) old.remove();
      else if (old.dataset.part === "renewed" && told.get(old.id) !== next.outerHTML) {
        told.set(old.id, next.outerHTML);
        old.replaceWith(document.adoptNode(next));
      }
    }
    document.title = fresh.title;
    const back = focused && document.getElementById(focused);
    if (back && back !== document.activeElement) back.focus({ preventScroll: true });
    count();
  }

  function listen() {
    if (source || document.hidden) return;
    source = new EventSource("/console/events");
    // What changed between the page and the stream's first look would never be told: so the page asks once more.
    source.addEventListener("ready", () => { say("on", "Live"); ask(); });
    source.addEventListener("changed", ask);
    source.addEventListener("end", () => { hush(); say("off", "No longer live: load the page again"); });
    source.onerror = () => {
        if (source && source.readyState === EventSource.CLOSED) {
        hush();
        say("off", "Not live: load the page again");
      } else say("wait", "Connecting again…");
    };
  }

  function hush() {
    if (source) source.close();
    source = null;
  }

  function count() {
    const now = Date.now() - skew;
    for (const time of document.querySelectorAll("time[data-until]")) {
      const left = Math.floor((Date.parse(time.dateTime) - now) / 1000);
      time.textContent = left <= 0 ? "its time is over" : "within " + words(left);
      time.classList.toggle("soon", left < 30);
    }
  }

  function words(seconds) {
    const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
    const all = [];
    for (const [size, unit] of parts) {
      if (seconds >= size) all.push(Math.floor(seconds / size) + unit);
      seconds %= size;
    }
    return all.slice(0, 2).join(" ");
  }

  count();
  setInterval(count, 1000);
  if (!state) return;
  state.hidden = false;
  // A browser has few connections to one server: only the page that is looked at keeps one.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) listen();
    else if (source) { hush(); say("wait", "Paused"); }
  });
  window.addEventListener("pagehide", hush);
  listen();
})();
