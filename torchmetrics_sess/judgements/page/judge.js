"use strict";

const part = (id) => document.getElementById(id);
const QUESTIONS = {
  rate: "How much of what the original shows is kept?",
  choose: "Which side keeps more of what the original shows?",
};
const KEYS = {
  rate: { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 },
  choose: { ArrowLeft: "left", ArrowDown: "equal", ArrowRight: "right" },
};
const RETRY = 2000;

// What a reload has to find again: who judges, and an answer that may not have arrived.
const kept = {
  get: (name) => JSON.parse(sessionStorage.getItem(name) ?? "null"),
  set: (name, value) => sessionStorage.setItem(name, JSON.stringify(value)),
  drop: (name) => sessionStorage.removeItem(name),
};

let rater = null;
let state = { done: 0, total: 0, turns: [] };
let busy = false;
let shownSince = 0;
let shownFor = 0;
const fetched = new Map();

function show(id) {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== id;
}

// Time counts while a question can be seen.
const startClock = () => { shownSince = performance.now(); };
function stopClock() {
  if (shownSince) shownFor += performance.now() - shownSince;
  shownSince = 0;
}

async function ask(address, body) {
  const options = body && {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  for (;;) {
    try {
      const answer = await fetch(address, options);
      if (answer.status < 500) {
        part("problem").hidden = true;
        if (answer.ok) return await answer.json();
        const error = new Error(await answer.text());
        error.status = answer.status;
        throw error;
      }
    } catch (error) {
      if (error.status) throw error;
    }
    tell("The server does not answer. Your answer is kept, and sent again until it does.");
    await new Promise((resolve) => { setTimeout(resolve, RETRY); });
  }
}

function tell(message) {
  for (const id of ["problem", "refused"]) {
    part(id).textContent = message;
    part(id).hidden = false;
  }
}

const turnsOf = () => ask(`turns?rater=${encodeURIComponent(rater)}`);

function preload() {
  const wanted = state.turns.flatMap((turn) => [turn.origin, ...turn.shown]);
  for (const address of fetched.keys()) if (!wanted.includes(address)) fetched.delete(address);
  for (const address of wanted) {
    if (fetched.has(address)) continue;
    const image = new Image();
    image.src = address;
    fetched.set(address, image);
  }
}

function frame(address, name, kind) {
  const figure = document.createElement("figure");
  figure.className = kind;
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.textContent = name;
  const box = figure.appendChild(document.createElement("div"));
  box.className = "frame";
  const image = box.appendChild(document.createElement("img"));
  image.alt = name;
  image.draggable = false;
  image.addEventListener("error", () => { tell("An image could not be loaded. Undo, or ask whoever runs the study."); });
  image.src = address;
  return figure;
}

function render() {
  preload();
  const [turn] = state.turns;
  zoom(false);
  const bar = document.querySelector(".bar");
  bar.setAttribute("aria-valuemax", state.total);
  bar.setAttribute("aria-valuenow", state.done);
  bar.firstElementChild.style.width = `${100 * state.done / Math.max(1, state.total)}%`;
  if (!turn) {
    part("back").hidden = state.done === 0;
    show("over");
    return;
  }
  part("count").textContent = `Question ${state.done + 1} of ${state.total}`;
  part("undo").disabled = state.done === 0;
  part("question").textContent = QUESTIONS[turn.kind];
  const images = part("images");
  images.className = `images ${turn.kind}`;
  images.dataset.position = turn.position;
  const origin = frame(turn.origin, "original", "origin");
  images.replaceChildren(...(turn.kind === "rate"
    ? [origin, frame(turn.shown[0], "what became of it", "shown")]
    : [frame(turn.shown[0], "left", "shown"), origin, frame(turn.shown[1], "right", "shown")]));
  part("answers").replaceChildren(part(`${turn.kind}-answers`).content.cloneNode(true));
  show("judging");
  shownFor = 0;
  startClock();
}

async function send(pending) {
  kept.set("pending", pending);
  try {
    state = await ask("answer", pending);
  } catch (error) {
    if (error.status !== 409) throw error;
    // Another window of the same rater was quicker: go on from where they are.
    state = await turnsOf();
  }
  kept.drop("pending");
}

async function answer(value) {
  const [turn] = state.turns;
  if (busy || !turn || part("judging").hidden) return;
  busy = true;
  stopClock();
  for (const button of part("answers").children) button.classList.toggle("taken", button.dataset.answer === String(value));
  try {
    await send({ rater, position: turn.position, answer: value, seconds: Math.round(shownFor) / 1000 });
    render();
  } catch (error) {
    tell(error.message);
  }
  busy = false;
}

async function undo() {
  if (busy || state.done === 0) return;
  busy = true;
  try {
    state = await ask("undo", { rater, position: state.done - 1 });
    render();
  } catch (error) {
    tell(error.message);
  }
  busy = false;
}

function zoom(on, x = 0.5, y = 0.5) {
  part("images").classList.toggle("zoomed", on);
  part("zoom").setAttribute("aria-pressed", on);
  if (on) look(x, y);
}

// All images show the same place.
function look(x, y) {
  for (const image of document.querySelectorAll(".frame img")) image.style.transformOrigin = `${100 * x}% ${100 * y}%`;
}

const zoomed = () => part("images").classList.contains("zoomed");

function place(event) {
  const box = event.target.closest(".frame")?.getBoundingClientRect();
  return box && [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function pause() {
  if (part("judging").hidden) return;
  stopClock();
  part("who").textContent = rater;
  show("paused");
  part("resume").focus();
}

function resume() {
  show("judging");
  startClock();
}

async function begin(name) {
  rater = name;
  const pending = kept.get("pending");
  if (pending?.rater === rater) await send(pending);
  else state = await turnsOf();
  kept.set("rater", rater);
  render();
  part("question").focus();
}

part("begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  part("refused").hidden = true;
  try {
    await begin(part("rater").value.trim().replace(/\s+/g, " "));
  } catch (error) {
    tell(error.message);
  }
});
part("undo").addEventListener("click", undo);
part("back").addEventListener("click", undo);
part("pause").addEventListener("click", pause);
part("resume").addEventListener("click", resume);
part("leave").addEventListener("click", () => {
  kept.drop("rater");
  part("rater").value = "";
  show("welcome");
  part("rater").focus();
});
part("zoom").addEventListener("click", () => zoom(!zoomed()));
part("images").addEventListener("click", (event) => {
  const point = place(event);
  if (point) zoom(!zoomed(), ...point);
});
part("images").addEventListener("pointermove", (event) => {
  const point = zoomed() && place(event);
  if (point) look(...point);
});
part("answers").addEventListener("click", (event) => {
  const value = event.target.closest("button")?.dataset.answer;
  if (value) answer(/^\d$/.test(value) ? Number(value) : value);
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLInputElement) return;
  const key = event.key.toLowerCase();
  if (key === "u" && (!part("judging").hidden || !part("over").hidden)) undo();
  if (part("judging").hidden) return;
  const [turn] = state.turns;
  const value = turn && KEYS[turn.kind][event.key];
  if (value !== undefined) {
    event.preventDefault();
    answer(value);
  } else if (key === "z") zoom(!zoomed());
  else if (key === "p") pause();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stopClock();
  else if (!part("judging").hidden) startClock();
});

const before = kept.get("rater");
if (before) {
  part("rater").value = before;
  begin(before).catch((error) => tell(error.message));
}
