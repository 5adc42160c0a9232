// Events become batches: one page, one session, one consent each; what is not answered stays stored.
import { settings } from "./config";
import type { Consent } from "./consent";
import { quiet, randomText, storage, type Session } from "./identity";
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

/** Bytes of a batch, of everything that waits, and events of a batch. */
const BATCH = 32_000;
const WAITING = 400_000;
const EVENTS = 100;

const PREFIX = "convizit.q.";
/** Made anew at each page load, in memory. */
const tab = randomText(12);
let sequence = 0;
let dropped = 0;
let open: (Batch & { _bytes?: number }) | undefined;
/** Sealed: [batch, its JSON without sent]. Their ids and contents change no more. */
let sealed: Batch[] = [];

const size = (value: unknown) => new Blob([JSON.stringify(value)]).size;

const mark = ({ user, session, consent }: About) => JSON.stringify([user, session && session.id, consent]);
const same = (batch: Batch, about: About) => batch.page === about.page && mark(batch) === mark(about);

export const add = (event: WireEvent, about: About) => {
  const bytes = size(event);
  if (bytes > BATCH) {
    dropped++;
    return;
  }
  if (open && (!same(open, about) || open.events.length >= EVENTS || open._bytes! + bytes > BATCH)) seal();
  if (!open) {
    open = { v: 1, key: settings.key, batch: `${tab}.${++sequence}`, sent: "", settings: settings.version, ...about, events: [], _bytes: size(about) + 300 };
  }
  open.events.push(event);
  open._bytes! += bytes;
};

/** Closes the open batch, so that it can be sent. */
export const seal = () => {
  if (!open) return;
  delete open._bytes;
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

export const waiting = () => sealed;
export const isEmpty = () => !open && !sealed.length;
export const hasOpen = () => !!open;

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
  quiet(() => (sealed.length ? storage()!.setItem(PREFIX + tab, JSON.stringify(sealed)) : storage()!.removeItem(PREFIX + tab)));
};

/** Takes over what earlier loads and other tabs left; a repeat is recognised by its ids. */
export const restore = () =>
  quiet(() => {
    const from = storage()!;
    for (const name of Object.keys(from)) {
      if (!name.startsWith(PREFIX) || name === PREFIX + tab) continue;
      const left = JSON.parse(from.getItem(name) || "[]") as Batch[];
      from.removeItem(name);
      sealed.push(...left.filter((batch) => batch && batch.key === settings.key && Array.isArray(batch.events)));
    }
    store();
  });
