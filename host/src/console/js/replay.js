// Plays a recording: what was done appears when it was done. What is there to see is the page itself, which has a window of
// operations; the next window is asked for as a page, and its part is taken. Without this the page has all that it shows, at once.
"use strict";
(() => {
  const player = document.getElementById("player");
  const proof = document.getElementById("verify");
  if (proof) verify(proof.href);
  if (!player) return;

  const [play, bar, clock, speed, idle, finding, all, said] =
    ["play", "time", "clock", "speed", "idle", "finding", "all", "said"].map((id) => document.getElementById(id));
  const length = Number(player.dataset.length);
  // Pauses longer than this are skipped, up to a moment before something happens; milliseconds of the session.
  const IDLE = 2000, MOMENT = 300, TICK = 40;
  let now = 0, last = 0, timer = null, asking = false, quiet = false, mark = 0;

  player.hidden = false;
  document.getElementById("goto").hidden = true;

  const part = () => document.getElementById("window");
  const scenes = () => [...part().querySelectorAll("li[data-at]")];
  const at = (scene) => Number(scene.dataset.at);
  const until = (scene) => Math.max(Number(scene.dataset.until), at(scene));
  const link = (name) => part().querySelector(`a[data-${name}]`);
  const say = (text) => { if (said.textContent !== text) said.textContent = text; };

  function words(ms) {
    const pad = (number, digits) => String(Math.floor(number)).padStart(digits, "0");
    const seconds = ms / 1000;
    const hours = Math.floor(seconds / 3600);
    return (hours ? hours + ":" + pad(seconds / 60 % 60, 2) : Math.floor(seconds / 60)) + ":" + pad(seconds % 60, 2) + "." + pad(ms % 1000, 3);
  }

  // What is past, runs or is to come. Before the first step all of it is there.
  function show() {
    bar.value = String(Math.round(now));
    bar.setAttribute("aria-valuetext", words(now) + " of " + words(length));
    clock.textContent = words(now);
    let current = null;
    for (const scene of scenes()) {
      const state = at(scene) > now ? "ahead" : until(scene) > now ? "running" : "past";
      if (state !== "ahead") current = scene;
      if (scene.dataset.state !== state) scene.dataset.state = state;
    }
    for (const scene of part().querySelectorAll("[aria-current]")) if (scene !== current) scene.removeAttribute("aria-current");
    if (current && !current.hasAttribute("aria-current")) {
      current.setAttribute("aria-current", "step");
      if (part().dataset.played !== undefined && !quiet) current.scrollIntoView({ block: "nearest" });
    }
  }

  const playing = () => timer !== null;

  function start() {
    if (playing()) return;
    if (now >= length && length > 0) { seek(0, true); return; }
    part().dataset.played = "";
    last = performance.now();
    timer = setInterval(step, TICK);
    play.textContent = "Pause";
    say("Playing");
    show();
  }

  function pause(why) {
    if (playing()) clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    say(why || "Paused at " + words(now));
  }

  // The next thing that happens after now, in this window.
  function next() {
    const times = scenes().flatMap((scene) => [at(scene), until(scene)]).filter((time) => time > now);
    return times.length ? Math.min(...times) : null;
  }

  function step() {
    const moment = performance.now();
    const passed = moment - last;
    last = moment;
    if (asking) return;
    const coming = next();
    if (coming === null && link("next")) { load(link("next").href, (fresh) => { if (!fresh) pause(); }); return; }
    now += passed * Number(speed.value);
    mark = 0;
    if (coming === null && (idle.checked || now >= length)) {
      now = length;
      show();
      pause("The end");
      return;
    }
    if (coming !== null && idle.checked && coming - now > IDLE) now = coming - MOMENT;
    now = Math.min(now, length);
    show();
  }

  // Whether this window has what happened then.
  function covers(time) {
    const first = scenes()[0];
    if (!first) return false;
    const begins = !part().querySelector("nav a") || link("next") === part().querySelector("nav a");
    return (begins || time >= at(first)) && (!link("next") || time <= Math.max(...scenes().map(until)));
  }

  function seek(time, then) {
    now = Math.max(0, Math.min(length, time));
    mark = 0;
    part().dataset.played = "";
    if (covers(now)) { show(); if (then) start(); return; }
    const address = new URL(location.pathname, location.origin);
    address.searchParams.set("t", String(now / 1000));
    load(address.href, (fresh) => { if (fresh && then) start(); });
  }

  // The next one that is worth a look; in another window if none is left in this.
  function find() {
    // Behind the one that was found last, if time has not moved since: several may be of one moment.
    const here = part().dataset.played !== undefined ? now : -1;
    const ahead = scenes().filter((scene) => scene.dataset.notable !== undefined && (mark ? Number(scene.dataset.number) > mark : at(scene) > here));
    if (ahead.length) { found(ahead[0]); return; }
    if (!link("finding")) { say("No more findings"); return; }
    load(link("finding").href, (fresh) => {
      const first = scenes().find((scene) => scene.dataset.notable !== undefined);
      if (fresh && first) found(first); else if (fresh) say("No more findings");
    });
  }

  function found(scene) {
    part().dataset.played = "";
    now = until(scene);
    mark = Number(scene.dataset.number);
    quiet = true;
    show();
    quiet = false;
    scene.scrollIntoView({ block: "center" });
    const place = scene.querySelector("a[data-step]");
    if (place) place.focus({ preventScroll: true });
    if (!playing()) say("Operation " + scene.dataset.number + " at " + words(at(scene)));
  }

  // Asks for another window as a page, in which nothing runs, and takes its part.
  function load(href, then) {
    if (asking) return;
    asking = true;
    const old = part();
    const played = old.dataset.played;
    old.setAttribute("aria-busy", "true");
    say("Loading…");
    const address = new URL(href);
    address.searchParams.set("look", "window");
    ask(address.href, (fresh) => {
      asking = false;
      last = performance.now();
      const window = fresh && fresh.getElementById("window");
      if (!window) { old.removeAttribute("aria-busy"); pause("The gateway does not answer: try again"); then(null); return; }
      if (played !== undefined) window.dataset.played = "";
      old.replaceWith(document.adoptNode(window));
      address.searchParams.delete("look");
      history.replaceState(null, "", address.href);
      say(playing() ? "Playing" : "");
      show();
      then(window);
    });
  }

  play.addEventListener("click", () => (playing() ? pause() : start()));
  bar.addEventListener("input", () => { clock.textContent = words(Number(bar.value)); });
  bar.addEventListener("change", () => seek(Number(bar.value), playing()));
  finding.addEventListener("click", find);
  all.addEventListener("click", () => {
    if (playing()) pause();
    delete part().dataset.played;
    say("All of this part is shown");
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const keys = document.getElementById("keys-on");
    if (keys && !keys.checked) return;
    if (event.target.closest("input:not([type=range]):not([type=checkbox]), textarea, select")) return;
    const pressed = event.key === " " && event.target.closest("button, summary, input[type=checkbox]");
    if (pressed) return;
    if (event.key === " ") playing() ? pause() : start();
    else if (event.key === "f") find();
    else if (["1", "2", "4", "8"].includes(event.key)) { speed.value = event.key; say("Speed " + event.key + "×"); }
    else return;
    event.preventDefault();
  });

  const first = scenes()[0];
  // A window in the middle begins where it begins.
  now = first && link("next") !== part().querySelector("nav a") && part().querySelector("nav a") ? at(first) : 0;
  show();

  // A long recording is read through after the page is there.
  function verify(href) {
    const place = document.getElementById("proof");
    place.setAttribute("aria-busy", "true");
    ask(href, (fresh) => {
      place.removeAttribute("aria-busy");
      if (!fresh) return;
      for (const id of ["proof", "timing"]) {
        const next = fresh.getElementById(id);
        if (next) document.getElementById(id).replaceWith(document.adoptNode(next));
      }
    });
  }

  function ask(href, then) {
    const request = new XMLHttpRequest();
    request.open("GET", href);
    request.responseType = "document";
    request.onload = () => {
      const same = new URL(request.responseURL).pathname === location.pathname;
      if (request.status === 200 && same && request.responseXML) then(request.responseXML);
      else if (!same) location.reload();
      else then(null);
    };
    request.onerror = () => then(null);
    request.send();
  }
})();
