"use strict";
// Lights a run in all charts and tables at once, and shows its values in one place. Without it the page is whole.
(() => {
  const runs = JSON.parse(document.getElementById("runs").textContent);
  const root = document.documentElement;
  const box = document.getElementById("inspector");
  const order = runs.map((run) => run.key);
  const byKey = new Map(runs.map((run) => [run.key, run]));
  const marked = new Map();
  let lit = null;
  let pinned = null;

  for (const element of document.querySelectorAll("[data-trial]")) {
    const key = element.dataset.trial;
    if (!byKey.has(key)) continue;
    marked.set(key, [...(marked.get(key) ?? []), element]);
    element.tagName === "TR" ? addButton(element, key) : addTargets(element);
  }

  // The number of a trial in a table: for the keyboard, and for fingers.
  function addButton(row, key) {
    const cell = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    button.setAttribute("aria-label", `${cell.textContent}: show in all charts`);
    button.addEventListener("focus", () => show(key));
    button.addEventListener("blur", () => show(pinned));
    cell.replaceChildren(button);
  }

  // A mark is small and a line thin: a wide transparent copy is easier to point at.
  function addTargets(group) {
    for (const shape of group.querySelectorAll("path, use")) {
      const copy = shape.cloneNode();
      copy.setAttribute("class", shape.tagName === "path" ? "hit line" : "hit");
      group.append(copy);
    }
  }

  function show(key) {
    for (const element of marked.get(lit) ?? []) element.classList.remove("lit");
    lit = key;
    for (const element of marked.get(key) ?? []) element.classList.add("lit");
    root.classList.toggle("picking", key !== null);
    box.hidden = key === null;
    if (key === null) return;
    const run = byKey.get(key);
    box.querySelector("h2").textContent = run.title;
    box.querySelector("p").textContent = run.note;
    box.querySelector("dl").replaceChildren(...run.values.map(pair));
  }

  function pair([name, value]) {
    const line = document.createElement("div");
    const [term, text] = ["dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    text.textContent = value;
    line.append(term, text);
    return line;
  }

  function pin(key) {
    pinned = key;
    show(key);
  }

  const keyAt = (event) => event.target.closest("[data-trial]")?.dataset.trial;
  document.addEventListener("pointerover", (event) => {
    const key = keyAt(event);
    if (byKey.has(key)) show(key);
    else if (lit !== pinned && !box.contains(event.target)) show(pinned);
  });
  document.addEventListener("click", (event) => {
    const key = keyAt(event);
    if (byKey.has(key)) pin(key);
    else if (!box.contains(event.target)) pin(null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") pin(null);
  });
  const step = (by) => pin(order[(order.indexOf(lit) + by + order.length) % order.length]);
  const [before, after, close] = box.querySelectorAll("button");
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  close.addEventListener("click", () => pin(null));

  window.addEventListener("beforeprint", () => {
    pin(null);
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
})();
