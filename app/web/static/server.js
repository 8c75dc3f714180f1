// Talking to Opora's API with the key of this tab.

import { t, TEXTS } from "./texts.js";

const STORED = "opora.key";
// A reverse proxy has signed the reader in, and adds the credential to each request.
const signedIn = "signedIn" in document.documentElement.dataset;
let key = sessionStorage.getItem(STORED);
let refused = () => {};

/** An answer of the server that is an error; without a code, the connection failed. */
export class Failure extends Error {
  constructor({ code = "connection", detail, message, request_id: requestId }) {
    super(detail ?? message ?? "");
    Object.assign(this, { code, requestId });
  }
}

export const hasKey = () => Boolean(key) || signedIn;
export const mayLogOut = () => Boolean(key);

/** Call a function whenever the server refuses the key. */
export function onRefused(callback) {
  refused = callback;
}

/** Keep a key for this tab once the server knows it. */
export async function logIn(typed) {
  // Fetch takes no header outside ASCII: a key typed with another keyboard layout is just wrong.
  if (!/^[\x21-\x7e]+$/.test(typed)) return refused();
  key = typed;
  await get("/v1/models");
  sessionStorage.setItem(STORED, key);
}

export function forgetKey() {
  key = null;
  sessionStorage.removeItem(STORED);
}

export async function get(path, options = {}) {
  const sent = key;
  const headers = { ...options.headers };
  if (sent) headers.Authorization = `Bearer ${sent}`;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({ code: `http_${response.status}` }));
  const failure = new Failure(body.error ?? body); // OpenAI's routes wrap it
  if (response.status === 401 && sent === key) refused();
  throw failure;
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return get(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** The server-sent events of a response, as [name, data]. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split(/\r?\n/)) {
        const [, name, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) fields[name] = text;
      }
      if (fields.data) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

/** What went wrong: a sentence, in our words where we know the code, and the server's own details. */
export function explain(error) {
  const { code, message, requestId } = error instanceof Failure ? error : new Failure({});
  const down = /_(unavailable|refused|broken|timeout)$/.test(code) ? "unavailable" : null;
  const known = code in TEXTS.en ? code : down;
  const details = [known && message, code, requestId].filter(Boolean).join(" · ");
  return { sentence: known ? t(known) : message, details };
}

/** The same in one line. */
export function describe(error) {
  const { sentence, details } = explain(error);
  return `${sentence} (${details})`;
}
