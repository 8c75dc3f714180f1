// The page at `/`: log in with a key, ask, read the answer, check it in its documents.
// Whatever comes from documents or from the model enters the page as text, never as markup.

import { describe, explain, Failure, forgetKey, get, hasKey, logIn, mayLogOut, onRefused, post, readEvents } from "./server.js";
import { label, switchLanguage, t, TEXTS, translate, translatePage, write } from "./texts.js";

const AROUND = 6000; // UTF-16 units of a document shown on each side of a quote

const $ = (id) => document.getElementById(id);
let conversationId = null;
let running = null; // the AbortController of the answer in the making
let shown = null; // the source in the panel

// Coming and going ----------------------------------------------------------------------------

function show(inside) {
  for (const id of ["room", "composer", "new"]) $(id).hidden = !inside;
  $("logout").hidden = !(inside && mayLogOut());
  $("login").hidden = inside;
  $(inside ? "question" : "key").focus();
}

async function enter(typed) {
  $("refused").hidden = true;
  try {
    await logIn(typed);
    if (!hasKey()) return;
    $("key").value = "";
    show(true);
  } catch (error) {
    if (error.code === "unauthenticated") return;
    leave();
    if (error.code === "forbidden") label($("refused"), "forbidden");
    else write($("refused"), describe(error));
  }
}

function leave(reason) {
  startAnew();
  $("panel").close();
  $("question").value = "";
  forgetKey();
  show(false);
  if (reason) label($("refused"), reason);
  else $("refused").hidden = true;
}

function startAnew() {
  running?.abort();
  conversationId = null;
  $("thread").replaceChildren();
  $("empty").hidden = false;
}

// Asking --------------------------------------------------------------------------------------

async function ask(question) {
  const turn = addTurn(question);
  const controller = (running = new AbortController());
  const clock = keepTime(turn);
  setBusy(true);
  setPhase(turn, "searching");
  let text = "";
  const citations = [];
  try {
    const body = { question, conversation_id: conversationId, stream: true };
    const response = await post("/v1/ask", body, controller.signal);
    for await (const [event, data] of readEvents(response)) {
      if (event === "retrieved") setPhase(turn, "reading", data.passages.length);
      else if (event === "token") setPhase(turn, "writing"), (text += data.text);
      else if (event === "cited") citations.push(data);
      else if (event === "failed") throw new Failure(data);
      else if (event === "finished") return finish(turn, data);
      writeText(turn, text, citations);
    }
    throw new Failure({}); // cut off before `finished`
  } catch (error) {
    if (controller.signal.aborted) stopTurn(turn, citations);
    else failTurn(turn, error, question);
  } finally {
    clearInterval(clock);
    turn.querySelector(".status").hidden = true;
    if (running === controller) setBusy(false);
  }
}

function addTurn(question) {
  const turn = clone("turn-template");
  turn.querySelector(".question").textContent = question;
  $("empty").hidden = true;
  $("thread").append(turn);
  turn.scrollIntoView({ block: "start" });
  return turn;
}

function keepTime(turn) {
  const started = Date.now();
  const clock = turn.querySelector(".clock");
  return setInterval(() => label(clock, "seconds", Math.round((Date.now() - started) / 1000)), 1000);
}

function setBusy(busy) {
  if (!busy) running = null;
  $("send").hidden = busy;
  $("stop").hidden = !busy;
}

function setPhase(turn, phase, n) {
  const node = turn.querySelector(".phase");
  if (node.dataset.t === phase) return;
  label(node, phase, n);
  $("live").textContent = node.textContent;
}

function finish(turn, answer) {
  conversationId = answer.conversation_id;
  turn.classList.add(answer.status);
  writeText(turn, answer.text, answer.citations);
  if (answer.status === "abstained") {
    label(turn.querySelector(".verdict"), "abstained");
    if (answer.reason in TEXTS.en) label(turn.querySelector(".note"), answer.reason);
    listSources(turn, "nearest", firstBy(answer.passages, (p) => p.document_id).slice(0, 3));
  } else {
    listSources(turn, "sources", answer.citations);
  }
  addFeedback(turn, answer.answer_id);
  $("live").textContent = turn.querySelector(".answer").innerText;
}

function stopTurn(turn, citations) {
  turn.classList.add("stopped");
  label(turn.querySelector(".note"), "stopped");
  listSources(turn, "sources", citations);
}

/** Show a failure as one: nothing of a half-written answer stays. */
function failTurn(turn, error, question) {
  turn.classList.add("failed");
  const { sentence, details } = explain(error);
  writeText(turn, sentence, []);
  write(turn.querySelector(".note"), details);
  label(turn.querySelector(".verdict"), "failed");
  $("live").textContent = turn.querySelector(".answer").innerText;
  const again = turn.querySelector(".again");
  again.hidden = false;
  again.addEventListener("click", () => {
    if (running) return;
    turn.remove();
    ask(question);
  });
}

/** Write the text with its markers as buttons; nodes that are already right stay as they are. */
function writeText(turn, text, citations) {
  const box = turn.querySelector(".text");
  let at = 0; // in code points, as the offsets of citations are
  const nodes = text.split(/(\[\d+\])/).filter(Boolean).map((piece) => {
    const marker = Number(/^\[(\d+)\]$/.exec(piece)?.[1]);
    const cited = citations.find((c) => c.marker === marker && c.answer_start <= at && at < c.answer_end);
    at += Array.from(piece).length;
    return cited ? markerButton(piece, cited) : document.createTextNode(piece);
  });
  nodes.forEach((node, i) => {
    const old = box.childNodes[i];
    if (!old) box.append(node);
    else if (old.nodeName !== node.nodeName || old.textContent !== node.textContent) old.replaceWith(node);
  });
  while (box.childNodes.length > nodes.length) box.lastChild.remove();
}

function markerButton(text, source) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "marker";
  button.textContent = text;
  button.title = source.title;
  button.addEventListener("click", () => openSource(source));
  return button;
}

function listSources(turn, heading, sources) {
  const items = firstBy(sources, (s) => `${s.marker} ${s.document_id} ${s.char_start} ${s.char_end}`);
  if (!items.length) return;
  label(turn.querySelector(".sources h3"), heading);
  turn.querySelector(".sources").hidden = false;
  turn.querySelector(".sources ol").append(...items.map((source) => {
    const item = clone("source-template");
    item.querySelector(".number").textContent = source.marker ?? "";
    item.querySelector(".title").textContent = source.title;
    if (source.pages.length) label(item.querySelector(".pages"), "pages", pageRange(source));
    item.querySelector("q").textContent = source.quote ?? source.text;
    item.querySelector("button").addEventListener("click", () => openSource(source));
    return item;
  }));
}

function addFeedback(turn, answerId) {
  const box = turn.querySelector(".feedback");
  box.hidden = false;
  for (const button of box.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      const thanks = box.querySelector(".thanks");
      try {
        await post(`/v1/answers/${encodeURIComponent(answerId)}/feedback`, { rating: button.value });
        for (const other of box.querySelectorAll("button")) other.ariaPressed = String(other === button);
        label(thanks, "thanks");
      } catch (error) {
        write(thanks, describe(error));
      }
    });
  }
}

// A document around a quote -------------------------------------------------------------------

/** Open the panel with a citation, or a passage, in its document. */
async function openSource(source) {
  shown = source;
  $("panel-title").textContent = source.title;
  const pages = source.pages.length ? `${t("pages", pageRange(source))} · ` : "";
  $("panel-place").textContent = pages + t("version", source.version);
  $("origin").hidden = !/^https?:\/\//i.test(source.source_uri ?? "");
  $("origin").href = $("origin").hidden ? "#" : source.source_uri;
  $("panel-note").hidden = true;
  $("panel-text").textContent = t("loading");
  $("panel").showModal();
  try {
    const path = `/v1/documents/${encodeURIComponent(source.document_id)}/text`;
    const response = await get(`${path}?version=${source.version}`);
    // response.text() would swallow a leading U+FEFF, and each offset would be one off.
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(await response.arrayBuffer());
    if (shown === source) markQuote(text, source);
  } catch (error) {
    if (shown !== source) return;
    $("panel-text").textContent = "";
    write($("panel-note"), describe(error));
  }
}

function markQuote(text, source) {
  const start = unitIndex(text, source.char_start, 0);
  const end = unitIndex(text, source.char_end - source.char_start, start);
  const mark = document.createElement("mark");
  mark.textContent = text.slice(start, end);
  const from = Math.max(0, start - AROUND);
  const to = Math.min(text.length, end + AROUND);
  const [before, after] = [from > 0 ? "… " : "", to < text.length ? " …" : ""];
  $("panel-text").replaceChildren(before + text.slice(from, start), mark, text.slice(end, to) + after);
  const quote = source.quote ?? source.text;
  if (mark.textContent !== quote) write($("panel-note"), t("moved") + quote);
  mark.scrollIntoView({ block: "center" });
}

/** The UTF-16 index that lies a number of code points after another one. */
function unitIndex(text, codePoints, from) {
  let index = from;
  for (let i = 0; i < codePoints; i++) index += text.codePointAt(index) > 0xffff ? 2 : 1;
  return index;
}

async function download({ document_id: documentId, version, title }) {
  try {
    const response = await get(`/v1/documents/${encodeURIComponent(documentId)}/content?version=${version}`);
    const disposition = response.headers.get("content-disposition") ?? "";
    const [, encoded] = /filename\*=utf-8''([^;]+)/i.exec(disposition) ?? [];
    const [, plain] = /filename="([^"]+)"/.exec(disposition) ?? [];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = encoded ? decodeURIComponent(encoded) : plain ?? title;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    write($("panel-note"), describe(error));
  }
}

// Small things --------------------------------------------------------------------------------

function clone(id) {
  const node = $(id).content.firstElementChild.cloneNode(true);
  translate(node);
  return node;
}

function firstBy(items, keyOf) {
  const keys = items.map(keyOf);
  return items.filter((_, i) => keys.indexOf(keys[i]) === i);
}

function pageRange({ pages }) {
  return pages.length > 1 ? `${pages[0]}–${pages.at(-1)}` : pages[0];
}

function send() {
  const question = $("question").value.trim();
  if (!question || running) return;
  $("question").value = "";
  ask(question);
}

$("login").addEventListener("submit", (event) => (event.preventDefault(), enter($("key").value.trim())));
$("composer").addEventListener("submit", (event) => (event.preventDefault(), send()));
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) event.preventDefault(), send();
});
$("stop").addEventListener("click", () => (running?.abort(), $("question").focus()));
$("new").addEventListener("click", () => (startAnew(), $("question").focus()));
$("logout").addEventListener("click", () => leave());
$("panel-close").addEventListener("click", () => $("panel").close());
$("panel").addEventListener("close", () => ((shown = null), $("panel-text").replaceChildren()));
$("panel").addEventListener("click", (event) => event.target === $("panel") && $("panel").close());
$("download").addEventListener("click", () => download(shown));
$("language").addEventListener("click", switchLanguage);

onRefused(() => leave("unauthenticated"));
translatePage();
show(hasKey());
