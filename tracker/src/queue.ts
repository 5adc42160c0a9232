// Events become batches: one page, one session, one consent each; what is not answered stays stored.
import { settings } from "./config";
import type { Consent } from "./consent";
import { quiet, randomHex, storage, type Session } from "./identity";
import type { Page } from "./page";
import type { Receipt } from "./privacy";

export interface WireEvent {
  id: string;
  type: string;
  time: string;
  descriptor?: unknown;
  name?: string;
  properties?: Record<string, unknown>;
  withheld?: Receipt[];
}

export interface Batch {
  v: 1;
  key: string;
  batch: string;
  sent: string;
  settings: number;
  visitor?: string;
  session?: Session;
  user?: string;
  consent: Consent;
  page: Page;
  dropped?: number;
  events: WireEvent[];
}

export interface About {
  visitor?: string;
  session?: Session;
  user?: string;
  consent: Consent;
  page: Page;
}

/** Bytes of a batch (its page block may still grow up to 32 KiB), of everything that waits, and events of a batch. */
const BATCH = 30_000;
const WAITING = 400_000;
const EVENTS = 100;

/** Made anew at each page load, in memory. */
export const tab = randomHex(8);
let sequence = 0;
let dropped = 0;
let open: Batch | undefined;
let bytes = 0;
let mark = "";
/** Their ids and contents change no more. */
export let sealed: Batch[] = [];

// A Blob would tell as well, and takes more time than the rest of an event's way.
export const size = (value: unknown) => new TextEncoder().encode(JSON.stringify(value)).length;

export const add = (event: WireEvent, about: About) => {
  const more = size(event);
  if (more > BATCH) {
    dropped++;
    return;
  }
  const its = JSON.stringify({ ...about, page: 0 });
  if (open && (open.page !== about.page || its !== mark || open.events.length >= EVENTS || bytes + more > BATCH)) seal();
  if (!open) {
    open = { v: 1, key: settings.key, batch: `${tab}.${++sequence}`, sent: "", settings: settings.version, ...about, events: [] };
    bytes = size(open) + 100;
    mark = its;
  }
  open.events.push(event);
  bytes += more + 1;
};

/** Closes the open batch, so that it can be sent. */
export const seal = () => {
  if (!open) return;
  // Its page may still change with the next events of another batch.
  open.page = { ...open.page };
  if (dropped) open.dropped = dropped;
  dropped = 0;
  sealed.push(open);
  open = undefined;
  let waiting = sealed.reduce((sum, batch) => sum + size(batch), 0);
  while (waiting > WAITING && sealed.length > 1) {
    const oldest = sealed.shift()!;
    waiting -= size(oldest);
    dropped += oldest.events.length + (oldest.dropped || 0);
  }
  store();
};

export const remove = (batch: Batch) => {
  sealed = sealed.filter((other) => other !== batch);
  store();
};

/** Everything that waits is dropped: consent was withdrawn. */
export const clear = () => {
  open = undefined;
  sealed = [];
  store();
};

/** Keeps what waits for the next load, where storage is allowed. */
export const store = () => {
  quiet(() => (sealed.length ? storage()!.setItem(prefix() + tab, JSON.stringify(sealed)) : storage()!.removeItem(prefix() + tab)));
};

/** Another project's tracker may live on the same origin. */
const prefix = () => `convizit.q.${settings.key}.`;

/** Takes over what earlier loads and other tabs left; a repeat is recognised by its ids. */
export const restore = () =>
  quiet(() => {
    const from = storage()!;
    for (const name of Object.keys(from)) {
      if (!name.startsWith(prefix())) continue;
      const left = from.getItem(name)!;
      from.removeItem(name);
      quiet(() => sealed.push(...(JSON.parse(left) as Batch[]).filter((batch) => batch?.events)));
    }
    store();
  });
