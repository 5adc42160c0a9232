// Asking the collector: each request carries the token, and no cookie.
import { settings } from "../src/config";
import { pageBlock } from "../src/page";
import { gate, mayRead, skips, type Receipt } from "../src/privacy";
import { fold } from "../src/label";
import { cleanUrl } from "../src/page";
import { PRICE } from "../src/rules";
import { richPage } from "../src/rich";
import type { Described } from "../src/describe";

export type Change =
  | { change: "rename"; name: string; text: string }
  | { change: "capture_element"; element: string; captured: boolean }
  | { change: "capture_group"; group: string; captured: boolean };

export interface Draft {
  subject: string;
  version: number;
  change: Change;
  own: boolean;
  /** Whose it is, where it is not the person's own. */
  by: string | null;
}

/** What an event on a control would be: crates/pipeline/src/look.rs. */
export interface Seen {
  text: string;
  name: string | null;
  state: "new" | "provisional" | "published" | "given";
  element: string | null;
  captured: boolean;
  group: { id: string | null; name: string; position: number; length: number; captured: boolean } | null;
  properties: Record<string, unknown>;
  withheld: Receipt[];
}

export interface Opened {
  project: string;
  expires: string;
  drafts: Draft[];
}

export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

let origin = "";
let token = "";
/** Whether the site's policy was seen to stand between the page and the collector. */
let blocked = false;

export const connect = (where: string, secret: string) => {
  origin = where;
  token = secret;
  document.addEventListener("securitypolicyviolation", (event) => {
    if (event.blockedURI.startsWith(origin) && /connect/.test(event.effectiveDirective)) blocked = true;
  });
};

/** Status 0 where there was no answer that this page may read. */
export const ask = async (what: string, body: Record<string, unknown>): Promise<Answer> => {
  try {
    const response = await fetch(`${origin}/v1/customizer/${what}`, { method: "POST", body: JSON.stringify({ token, ...body }), credentials: "omit" });
    return { status: response.status, body: await response.json() };
  } catch {
    // The violation's own event comes a moment after the refusal.
    await new Promise((done) => setTimeout(done, 50));
    const detail = blocked
      ? `This site's Content-Security-Policy does not let the page ask ${origin}: add it to connect-src. Until then nothing can be named or saved here.`
      : `${origin} cannot be reached, or this page may not use the link: open the site from the console again.`;
    return { status: 0, body: { detail } };
  }
};

/** What the page is, as its events say it. */
const page = () => ({ ...pageBlock(), ...richPage({ _fold: fold, _gate: gate, _mayRead: mayRead, _skips: skips, _price: PRICE, _cleanUrl: cleanUrl }) });

export interface Shown extends Described {
  type: string;
}

/** Names of controls, in their order; null where a rule of the settings leaves one out. */
export const names = async (controls: Shown[]): Promise<Answer & { seen: (Seen | null)[] }> => {
  const now = new Date().toISOString();
  const events = controls.map(({ type, descriptor, properties, withheld }, at) => ({
    id: `0193a1f0-0000-7000-8000-${String(at).padStart(12, "0")}`,
    type,
    time: now,
    descriptor,
    properties,
    withheld,
  }));
  const answer = await ask("names", { v: 1, key: settings.key, batch: "overlay.1", sent: now, settings: settings.version, consent: {}, page: page(), events });
  return { ...answer, seen: answer.status === 200 ? (answer.body.controls as (Seen | null)[]) : [] };
};
