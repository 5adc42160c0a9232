// Sending: batch after batch, tried again with backoff and jitter, never in the page's way.
import { setSettings, settings, type Settings } from "./config";
import { remove, seal, sealed, size, tab, type Batch } from "./queue";

const MAX_WAIT = 300_000;
/** Bytes that browsers let be in flight with keepalive. */
const KEEPALIVE = 60_000;
/** A server that says nothing for so long has not answered. */
const PATIENCE = 30_000;

export let origin = "";
let sending = false;
let failures = 0;
let retryAt = 0;
let timer = 0;
let due = 0;

// What the page puts in its place later is not ours.
const send = window.fetch?.bind(window);

export const setOrigin = (value: string) => {
  origin = value;
};

const post = (text: string, keepalive: boolean) =>
  send(origin + "/v1/collect", { method: "POST", body: text, keepalive, credentials: "omit" });

const body = (batch: Batch) => JSON.stringify({ ...batch, sent: new Date().toISOString() });

/** Exponential with full jitter, at least what the server asked for. */
export const backoff = (failures: number, retryAfter: number) =>
  Math.min(MAX_WAIT, Math.max(retryAfter, 500 * 2 ** failures * (1 + Math.random())));

const schedule = (millis: number, run = flush) => {
  clearTimeout(timer);
  timer = setTimeout(run, millis);
  due = Date.now() + millis;
};

/** Until the page's rich block is there, at most 2 s, its first batch waits. */
let heldUntil = 0;

export const hold = (until: number) => {
  heldUntil = until;
};

/** Sends soon: a moment's events go together, and steady clicks do not put off a sending that is due. */
export const soon = () => {
  const wait = Math.max(1000, heldUntil - Date.now());
  const left = due - Date.now();
  if (!sending && (left <= 0 || left > wait)) schedule(wait);
};

export const flush = (): void => {
  Date.now() < heldUntil ? soon() : seal();
  const batch = sealed[0];
  if (!batch || sending || !send) return;
  const rest = retryAt - Date.now();
  if (rest > 0) return schedule(rest);
  sending = true;
  schedule(PATIENCE, () => again(0));
  post(body(batch), false).then((response) => answered(batch, response)).catch(() => again(0));
};

const again = (retryAfter: number) => {
  sending = false;
  const wait = backoff(++failures, retryAfter);
  retryAt = Date.now() + wait;
  schedule(wait);
};

const answered = (batch: Batch, response: Response) => {
  if (/408|429|5../.test(response.status + "")) {
    return again(1000 * (+response.headers.get("Retry-After")! || 0));
  }
  // Taken, or refused for good: either way it is not sent again.
  sending = false;
  failures = retryAt = 0;
  remove(batch);
  if (+response.headers.get("Convizit-Settings")! > settings.version) refresh();
  // What came meanwhile goes with the next.
  sealed.length ? flush() : soon();
};

/** The page goes: everything leaves at once; without an answer it stays stored and is sent again at the next load. */
export const leave = () => {
  seal();
  let bytes = 0;
  for (const batch of sealed) {
    // A page that goes is hidden too: each batch leaves once. What earlier pages left has left with them: it waits for its
    // answer in a page that stays.
    if (flying.has(batch) || batch.batch.indexOf(tab)) continue;
    const text = body(batch);
    bytes += size(batch);
    if (bytes > KEEPALIVE) return;
    flying.add(batch);
    try {
      // What is refused for now, too, is sent again by a page that stays.
      post(text, true).then((response) => response.status < 408 && remove(batch)).catch(() => flying.delete(batch));
    } catch {
      navigator.sendBeacon(origin + "/v1/collect", text);
    }
  }
};

const flying = new WeakSet<Batch>();
let fetched = 0;

/** Newer settings take effect in this tab. */
export const refresh = () => {
  if (!send || Date.now() - fetched < 5000) return;
  fetched = Date.now();
  send(`${origin}/t/${settings.key}.json`, { credentials: "omit" })
    .then((response) => response.json())
    .then((next: Settings) => {
      // An error's answer has no key. The second script finds them there.
      if (next.key === settings.key) setSettings(((window as unknown as { convizitSettings: Settings }).convizitSettings = { ...settings, ...next }));
    })
    .catch(() => {});
};
