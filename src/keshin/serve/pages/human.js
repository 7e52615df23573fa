// The page of a study. The server keeps the state; this file shows it and sends what is done.
import { TEXTS } from "./texts.js";

const $ = (id) => document.getElementById(id);
const RETRY = 2000;
let study = null; // what api/study says
let state = null; // where the person is; null: nobody chosen
let busy = false;
let paused = false;
let introduced = -1; // the round whose classes and examples are on the screen
let fitting = []; // classes that fit what was typed, as indices
let active = -1; // place in fitting
let digits = true; // whether digits choose: not where names have digits
const ahead = new Map(); // question -> Image that is being fetched
const clock = { total: 0, since: null };

// --- words ----------------------------------------------------------------------------------------

const memory = {
  get: (where, key) => { try { return where.getItem(key); } catch { return null; } },
  set: (where, key, value) => { try { where.setItem(key, value); } catch { /* private window */ } },
};
const preferred = (navigator.languages ?? [navigator.language]).find((l) => /^(ja|en)/.test(l)) ?? "en";
let language = memory.get(localStorage, "keshin-language") ?? preferred.slice(0, 2); // api/study may know better
if (!TEXTS[language]) language = "en";

function text(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const place = () => ({ n: state.position + 1, all: study.questions });
const folded = (name) => name.normalize("NFKC").toLowerCase().replace(/[_\s-]+/g, " ").trim();
const announce = (words) => { $("said").textContent = words; };

function trouble(words) {
  $("trouble").textContent = words;
  $("trouble").hidden = !words;
}

// --- the server -----------------------------------------------------------------------------------

const wait = (time) => new Promise((done) => setTimeout(done, time));

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  for (;;) {
    let answer, content;
    try {
      answer = await fetch(path, { cache: "no-store", ...options });
      content = await answer.json();
    } catch { // nobody there, or it ended while it answered: what was sent may have arrived
      trouble(text("offline"));
      await wait(RETRY);
      continue;
    }
    return { status: answer.status, content };
  }
}

// Do something and show what is so afterwards. A state that is past is not an error: look again.
async function act(path, body, words) {
  if (busy) return;
  busy = true;
  try {
    const person = `api/people/${state.number}`;
    let { status, content } = await ask(`${person}/${path}`, { after: state.revision, ...body });
    if (status === 409) {
      const sent = state.revision;
      ({ status, content } = await ask(person));
      trouble(status === 200 && content.revision > sent + 1 ? text("stale") : "");
    } else {
      trouble(status === 200 ? "" : text("refused", { why: content.error ?? status }));
    }
    if (status === 200) {
      state = content;
      show();
      if (words) announce(words());
    } else if (seen) {
      startClock();
    }
  } finally {
    busy = false;
  }
}

// --- the clock: from when a picture is seen, without pauses and hidden tabs -------------------------

function startClock() { if (clock.since === null && !document.hidden && !paused) clock.since = performance.now(); }
function stopClock() {
  if (clock.since !== null) clock.total += performance.now() - clock.since;
  clock.since = null;
}
function resetClock() { clock.total = 0; clock.since = null; }
let seen = false;
document.addEventListener("visibilitychange", () => { if (document.hidden) stopClock(); else if (seen) startClock(); });

// --- screens --------------------------------------------------------------------------------------

function screen(name) {
  introduced = -1;
  $("main").replaceChildren($(`${name}-screen`).content.cloneNode(true));
  $("main").scrollTop = 0;
  for (const element of $("main").querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text, element.dataset.text === "aboutStudy" ? about() : {});
  }
}

function about() {
  const rounds = study.rounds.length;
  return {
    questions: study.questions, classes: study.classes.length,
    rounds: rounds === 1 ? text("oneRound") : text("severalRounds", { n: rounds }),
  };
}

function show() {
  document.documentElement.lang = language;
  document.title = `${study.title} · keshin human`;
  $("title").textContent = study.title;
  $("language").textContent = text("language");
  $("language").lang = language === "en" ? "ja" : "en";
  $("switch").textContent = text("switchPerson");
  $("switch").hidden = state === null;
  $("who").textContent = state?.name ?? "";
  memory.set(sessionStorage, "keshin-person", state === null ? "" : `${study.key} ${state.number}`);
  if (state === null) showStart();
  else if (paused && state.phase === "question") showPaused();
  else ({ intro: showIntro, question: showQuestion, end: showEnd, finished: showResults })[state.phase]();
}

function showStart() {
  screen("start");
  for (const person of study.people) {
    const all = study.questions * study.rounds.length;
    const said = person.finished ? text("done") : text("answeredOf", { done: person.answered, all });
    const button = make("button", { type: "button" }, make("span", {}, person.name), make("span", {}, said));
    button.addEventListener("click", () => choose(person.name));
    $("people").append(make("li", {}, button));
  }
  $("people").hidden = !study.people.length;
  $("join").hidden = study.closed;
  $("join").addEventListener("submit", (event) => { event.preventDefault(); choose($("name").value); });
  if (study.closed) $("people").querySelector("button")?.focus();
  else $("name").focus();
}

async function choose(name) {
  const { status, content } = await ask("api/people", { name });
  trouble(status === 200 ? "" : text("refused", { why: content.error }));
  if (status !== 200) return;
  state = content;
  paused = false;
  resetClock();
  show();
}

function showIntro() {
  screen("intro");
  const { round, shots } = state;
  const values = { n: round + 1, all: study.rounds.length, name: text(`shots${shots}`) };
  $("round-title").textContent = text(study.rounds.length > 1 ? "roundOf" : "onlyRound", values);
  const key = round === 0 && shots > 0 ? `first${shots}` : `text${shots}`;
  $("round-text").textContent = text(key, { questions: study.questions });
  const keys = [
    [text("keyType"), "keyTypeText"], ["↑ ↓ ← →", "keyArrows"], ["Enter ↵", "keyEnter"],
    [digits ? "1 – 9" : "Alt + 1 – 9", "keyDigits"], ["?", "keyUnknown"], ["Backspace ⌫", "keyUndo"], ["Esc", "keyPause"],
  ];
  for (const [name, said] of keys) {
    $("keys").append(make("dt", {}, make("kbd", {}, name)), make("dd", {}, text(said)));
  }
  $("begin").textContent = text(round === 0 ? "begin" : "goOn");
  $("begin").addEventListener("click", () => act("begin", {}));
  offerUndo();
  $("begin").focus();
}

function showEnd() {
  screen("end");
  $("finish").addEventListener("click", () => act("finish", {}));
  offerUndo();
  $("finish").focus();
}

function offerUndo() {
  $("undo-before").hidden = !state.canUndo;
  $("undo-before").addEventListener("click", undo);
}

function showPaused() {
  screen("paused");
  $("resume").addEventListener("click", resume);
  $("resume").focus();
}

function resume() { paused = false; show(); }

function pause() {
  stopClock();
  paused = true;
  show();
}

// --- a question -----------------------------------------------------------------------------------

function showQuestion() {
  if (introduced !== state.round) {
    screen("question");
    buildClasses();
    introduced = state.round;
    $("filter").placeholder = text("filterHint");
    $("classes").setAttribute("aria-label", text("classesLabel"));
    $("filter").addEventListener("input", () => filter(true));
    $("filter").addEventListener("keydown", typed);
    $("unknown").addEventListener("click", () => answer(null));
    $("undo").addEventListener("click", undo);
    $("pause").addEventListener("click", pause);
  }
  $("progress").max = study.questions;
  $("progress").value = state.position;
  $("progress").setAttribute("aria-label", text("pictureOf", place()));
  $("count").textContent = `${state.position + 1} / ${study.questions}`;
  $("undo").disabled = !state.canUndo;
  $("filter").value = "";
  filter(false);
  $("classes").scrollTop = 0;
  showPicture();
  if (matchMedia("(pointer: fine)").matches) $("filter").focus({ preventScroll: true });
}

async function showPicture() {
  const question = state.upcoming[0];
  seen = false;
  if (showPicture.question !== `${state.number} ${state.round} ${question}`) resetClock();
  showPicture.question = `${state.number} ${state.round} ${question}`;
  const figure = $("picture");
  figure.replaceChildren();
  let image = fetched(question);
  for (const next of state.upcoming.slice(1)) fetched(next);
  for (const old of ahead.keys()) if (!state.upcoming.includes(old)) ahead.delete(old);
  const here = () => state?.upcoming?.[0] === question && !paused && figure.isConnected;
  let failed = false;
  for (;;) {
    try { await image.decode(); break; } catch { ahead.delete(question); }
    if (!here()) return;
    const status = await statusOf(image.src); // a server that was away may be back
    if (!here()) return;
    failed = status !== null && status !== 200;
    if (failed) break;
    if (status === null) { trouble(text("offline")); await wait(RETRY); }
    else if (image.again) { failed = true; break; } // it came whole, and is no picture
    const again = status === 200;
    image = fetched(question);
    image.again = again;
  }
  if (!here()) return;
  image.alt = text("pictureOf", place());
  if (failed) {
    figure.replaceChildren(make("p", {}, text("brokenPicture")));
  } else {
    image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= 160);
    figure.replaceChildren(image);
  }
  requestAnimationFrame(() => { seen = true; startClock(); });
}

async function statusOf(address) {
  try { return (await fetch(address, { cache: "no-store" })).status; } catch { return null; }
}

function fetched(question) {
  if (!ahead.has(question)) {
    const image = new Image();
    image.src = `picture/${question}?${study.key}`;
    image.decoding = "async";
    ahead.set(question, image);
  }
  return ahead.get(question);
}

function buildClasses() {
  const shots = state.shots;
  $("question").classList.toggle("with-examples", shots > 0);
  study.classes.forEach(({ name }, index) => {
    const option = make("div", { role: "option", id: `class-${index}`, class: "class" },
      make("span", { class: "label" }, make("kbd", { "aria-hidden": "true" }), make("span", {}, name)));
    if (shots) {
      const images = example(index, shots, "lazy").map((image) => { image.alt = ""; return image; });
      option.append(make("span", { class: "examples" }, ...images));
    }
    option.addEventListener("click", () => answer(index));
    $("classes").append(option);
  });
}

function example(index, shots, loading) {
  return Array.from({ length: shots }, (_, number) => {
    const image = make("img", { loading, decoding: "async", alt: text("exampleOf", { name: study.classes[index].name }) });
    image.src = `example/${index}/${number}?${study.key}`;
    return image;
  });
}

// Names that begin so come first, then those with a word that does, then the others.
function rank(names, wanted) {
  let best = 3;
  for (const name of names) {
    if (name.startsWith(wanted)) best = 0;
    else if (name.includes(` ${wanted}`)) best = Math.min(best, 1);
    else if (name.includes(wanted)) best = Math.min(best, 2);
  }
  return best;
}

function filter(aloud) {
  const wanted = folded($("filter").value);
  const ranked = study.classes.map((entry, index) => [wanted ? rank(entry.folded, wanted) : 0, index]);
  fitting = ranked.filter(([how]) => how < 3).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, index]) => index);
  const options = $("classes").children;
  for (const option of options) option.hidden = true;
  $("classes").prepend(...fitting.map((index) => $(`class-${index}`)));
  fitting.forEach((index, at) => {
    const option = $(`class-${index}`);
    option.hidden = false;
    option.querySelector("kbd").textContent = at < 9 ? (digits ? at + 1 : `⌥${at + 1}`) : "";
  });
  $("nothing").hidden = fitting.length > 0;
  move(wanted && fitting.length ? 0 : -1);
  if (aloud) {
    announce(fitting.length === 1 ? text("oneMatch", { name: study.classes[fitting[0]].name }) : text("matches", { n: fitting.length }));
  }
}

function move(to) {
  document.querySelector('.class[aria-selected="true"]')?.removeAttribute("aria-selected");
  active = fitting.length ? Math.min(to, fitting.length - 1) : -1;
  const chosen = active >= 0 ? $(`class-${fitting[active]}`) : null;
  chosen?.setAttribute("aria-selected", "true");
  chosen?.scrollIntoView({ block: "nearest" });
  if (chosen) $("filter").setAttribute("aria-activedescendant", chosen.id);
  else $("filter").removeAttribute("aria-activedescendant");
  $("compare").hidden = !state.shots || !chosen;
  $("compare").replaceChildren(...(state.shots && chosen ? example(fitting[active], state.shots, "eager") : []));
}

function columns() {
  const shown = fitting.map((index) => $(`class-${index}`).offsetTop);
  const next = shown.findIndex((top) => top !== shown[0]);
  return next < 0 ? shown.length : next;
}

function typed(event) {
  if (event.isComposing || event.ctrlKey || event.metaKey) return;
  const empty = $("filter").value === "";
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1];
  const steps = { ArrowDown: columns(), ArrowUp: -columns(), PageDown: 3 * columns(), PageUp: -3 * columns() };
  if (empty || active >= 0) Object.assign(steps, { ArrowRight: 1, ArrowLeft: -1 });
  if (event.key in steps) {
    const step = steps[event.key];
    move(active < 0 ? (step > 0 ? 0 : fitting.length - 1) : Math.max(0, active + step));
  } else if (event.key === "Enter") {
    if (active >= 0 && !event.repeat) answer(fitting[active]);
  } else if (event.key === "?" || event.key === "？") {
    if (!event.repeat) answer(null);
  } else if (event.key === "Backspace" && empty) {
    if (!event.repeat) undo();
  } else if (event.key === "Escape") {
    if (empty) pause();
    else { $("filter").value = ""; filter(true); }
  } else if (digit && (event.altKey || digits)) {
    const index = fitting[digit - 1];
    if (index !== undefined && !event.repeat) answer(index);
  } else if (event.key === " " && empty) {
    // a space before a name finds nothing
  } else {
    return;
  }
  event.preventDefault();
}

function answer(choice) {
  if (busy || state.phase !== "question") return;
  stopClock();
  const seconds = Math.round(clock.total) / 1000;
  const said = choice === null ? text("dontKnow") : study.classes[choice].name;
  act("answer", { question: state.upcoming[0], choice, seconds }, () =>
    state.phase === "question" ? text("said", { choice: said, ...place() }) : said);
}

function undo() {
  if (state.canUndo) act("undo", {}, () => text("undone", place()));
}

// Keys that are pressed while nothing that takes them has the focus.
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (paused && event.key === "Escape") { event.preventDefault(); resume(); return; }
  const between = state && (state.phase === "intro" || state.phase === "end") && state.canUndo;
  if (between && event.key === "Backspace" && !event.repeat) { event.preventDefault(); undo(); return; }
  const field = $("filter");
  if (state?.phase !== "question" || paused || !field || event.target === field) return;
  const onButton = event.target.tagName === "BUTTON";
  if (onButton && (event.key === "Enter" || event.key === " ")) return;
  if (event.key.length === 1 || ["Backspace", "Escape", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"].includes(event.key)) {
    field.focus();
    typed(event);
  }
});

// --- results --------------------------------------------------------------------------------------

async function showResults() {
  screen("results");
  $("results-title").textContent = text("results", { name: state.name });
  $("results-text").textContent = text("resultsWait");
  $("main").focus();
  const number = state.number;
  const { status, content } = await ask(`api/people/${number}/results`);
  if (state?.number !== number || !$("results-text")) return;
  if (status !== 200) { trouble(text("refused", { why: content.error })); return; }
  $("results-text").textContent = text("resultsText", { chance: percent(content.chance) });
  trouble(content.problem ? text("noModel", { why: content.problem }) : "");
  $("scores").replaceChildren(...content.rounds.map((round) => {
    const lines = [line(text("you"), round.accuracy, "you"), line(text("youGuesses"), round.guesses, "you")];
    if (round.model) lines.push(line(text("model", { model: content.model }), round.model, "model"));
    const facts = text("unknowns", { share: percent(round.dontKnow), seconds: round.seconds.toFixed(1) });
    return make("div", { class: "score" }, make("h2", {}, text(`shots${round.shots}`)), ...lines, make("div", { class: "quiet" }, facts));
  }));
  $("wrong-title").hidden = !content.pictures.length;
  $("wrong-title").textContent = text(content.wrong > content.pictures.length ? "wrongSome" : "wrongTitle", { n: content.wrong });
  $("wrong").replaceChildren(...content.pictures.map((entry) => {
    const image = make("img", { loading: "lazy", alt: entry.right });
    image.src = `picture/${entry.question}?${study.key}`;
    const said = [make("div", { class: "right" }, text("itIs", { name: entry.right })),
      make("div", {}, text("youSaid", { name: entry.you ?? text("dontKnow") }))];
    if (entry.model) said.push(make("div", {}, text("modelSaid", { name: entry.model })));
    return make("li", {}, image, ...said);
  }));
}

function line(name, score, kind) {
  const value = score ? percent(score.value) : "–";
  return make("div", { class: "line" }, make("span", {}, name), score ? track(score, kind) : make("span", {}), make("b", {}, value));
}

function track(score, kind) {
  const drawing = drawn("svg", { class: "track", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img" });
  const range = `${percent(score.low)} – ${percent(score.high)}`;
  drawing.setAttribute("aria-label", `${percent(score.value)} [${range}]`);
  drawing.append(
    drawn("rect", { class: "ground", width: 100, height: 10, rx: 1 }),
    drawn("rect", { class: kind, width: 100 * score.value, height: 10, rx: 1 }),
    drawn("line", { class: "whisker", x1: 100 * score.low, x2: 100 * score.high, y1: 5, y2: 5 }),
  );
  return drawing;
}

function drawn(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// --- start ----------------------------------------------------------------------------------------

async function refresh() {
  ({ content: study } = await ask("api/study"));
  trouble("");
  for (const entry of study.classes) entry.folded = [entry.name, ...entry.aliases].map(folded);
  digits = !study.classes.some((entry) => entry.folded.some((name) => /\d/.test(name)));
}

$("language").addEventListener("click", () => {
  language = language === "en" ? "ja" : "en";
  memory.set(localStorage, "keshin-language", language);
  introduced = -1;
  show();
});
$("switch").addEventListener("click", async () => {
  stopClock();
  state = null;
  paused = false;
  await refresh();
  show();
});

await refresh();
if (study.language && !memory.get(localStorage, "keshin-language")) language = study.language;
const [key, number] = (memory.get(sessionStorage, "keshin-person") ?? "").split(" ");
if (key === study.key && number !== undefined) {
  const { status, content } = await ask(`api/people/${number}`);
  if (status === 200) state = content;
  paused = state?.phase === "question"; // nobody may be looking yet
}
show();
