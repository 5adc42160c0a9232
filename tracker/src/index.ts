// The tracker: one script with its settings before it. Every entry point is guarded; the page never notices.
import { listen, on } from "./capture";
import { excludedPath, setSettings, settings, type Settings } from "./config";
import { consentNow, mayTrack, refused, setConsent, setOut } from "./consent";
import { describe, type Described } from "./describe";
import { forget, identify, keep, quiet, uuid } from "./identity";
import { fold } from "./label";
import { cleanUrl, pageBlock, type Page } from "./page";
import { gate, learn, mayRead, skips, type Receipt } from "./privacy";
import { add, clear, restore, type WireEvent } from "./queue";
import type { Properties } from "./record";
import type { Reader } from "./rich";
import { PRICE } from "./rules";
import { flush, hold, leave, origin, refresh, setOrigin, soon } from "./transport";

/** What the second script finds of the first. */
export interface Bridge extends Reader {
  _emit: (type: string, el?: Element | null, properties?: Properties) => void;
  _consent: typeof setConsent;
  _page: (rich: Record<string, unknown>) => void;
  /** Calls at once and at each page view (0), when a route leaves the page (1), when the page goes (2) or is hidden (3). */
  _onPage: (run: (state: number) => void) => void;
  _on: typeof on;
  _learn: typeof learn;
}

type Value = string | number | boolean | null;

let page: Page;
/** Of the page that the events belong to: the address may be the next one's already. */
let path: string;
let pageReceipts: Receipt[] = [];
let own: Record<string, Value> = {};
let user: string | undefined;
let engaged = 0;
let activeSince = 0;
let depth = 0;
let shown = false;
let coming = 0;
let onPage: ((state: number) => void)[] = [];
let later: (() => void)[] = [];

const tell = (state: number) => onPage.forEach((run) => quiet(() => run(state)));

const warn = (text: string) => console.warn("convizit: " + text);

/** After the page's own handlers; at once when it goes. */
const after = (run: () => void) => {
  if (later.push(run) < 2) setTimeout(drain);
};

const drain = () => later.splice(0).forEach(quiet);

const emit = (type: string, described?: Described | null, properties: Properties = {}, time = Date.now(), name?: string) => {
  if (described === null || !settings.events.includes(type) || !mayTrack() || excludedPath(path)) return;
  // What is set after it belongs to what follows.
  const at = page;
  const mine = own;
  const who = user;
  const its = { ...described?.properties, ...properties };
  after(() => {
    const event: WireEvent = { id: uuid(time), type, time: new Date(time).toISOString() };
    if (described) event.descriptor = described.descriptor;
    const withheld = [...(described?.withheld || []), ...pageReceipts];
    // Where there are too many, its own come first.
    const all = checked({ ...its, ...mine, ...its }, name || type, withheld);
    if (name) event.name = gate(name, "name", withheld);
    if (Object.keys(all).length) event.properties = all;
    if (withheld.length) event.withheld = withheld;
    add(event, { ...identify(time), ...(who && { user: who }), consent: consentNow(), page: at });
    soon();
  });
};

/** What keeps the limits; the rest is refused with a warning. */
const checked = (properties: Record<string, unknown>, what: string, withheld: Receipt[] = []): Record<string, Value> => {
  const out: Record<string, Value> = {};
  let count = 0;
  for (const [key, value] of Object.entries(properties)) {
    const problem =
      value !== null && (!/string|number|boolean/.test(typeof value) || value !== value)
        ? "no text, number, boolean"
        : !key || key.length > 255 || String(value).length > 255
          ? "over 255 characters"
          : ++count > 50 && "over 50 properties";
    if (problem) warn(`${what}: ${key}: ${problem}`);
    // What a site says of whoever signed in may be allowed, key by key.
    else if (gate(key, "properties", withheld) && (typeof value !== "string" || (what === "identify" && settings.traits.includes(key)) || gate(value, "properties." + key, withheld) === value)) out[key] = value as Value;
  }
  return out;
};

const api: Record<string, (...args: never[]) => void> = {
  track: (name: string, properties?: Properties) => {
    if (typeof name !== "string" || !name || name.length > 255) return warn("track: name needs 1 to 255 characters");
    emit("coded", undefined, properties, Date.now(), name);
  },
  setProperties: (properties: Properties) => {
    own = checked({ ...own, ...properties }, "setProperties");
  },
  identify: (id: string, traits?: Properties) => {
    // Whoever was identified before is not meant. An address is no id: it would be withheld on the server.
    user = undefined;
    if (typeof id !== "string" || !id || id.length > 128 || /@/.test(id)) return warn("identify: id needs 1 to 128 characters, no @");
    user = id;
    emit("identify", undefined, traits);
  },
  reset: () => {
    drain();
    user = undefined;
    own = {};
    forget();
  },
  page: (properties?: Properties) => viewed(properties),
  consent: (state: never) => change(() => setConsent(state)),
  optOut: () => change(() => setOut(true)),
  optIn: () => change(() => setOut(false)),
  flush: () => {
    drain();
    hold(0);
    flush();
  },
};

const change = (act: () => void) => {
  const before = mayTrack();
  act();
  if (!mayTrack()) {
    later = [];
    clear();
  } else if (!before) viewed();
};

const look = () => {
  path = location.pathname;
  page = pageBlock((pageReceipts = []));
};

const viewed = (properties: Properties = {}, time = Date.now()) => {
  // A prerendered page is viewed when it is shown.
  if ((document as unknown as { prerendering?: boolean }).prerendering) return;
  look();
  depth = engaged = 0;
  activeSince = document.hidden ? 0 : Date.now();
  shown = true;
  tell(0);
  emit("page_view", undefined, properties, time);
};

const left = (state: number) => {
  // Only what was viewed can be left: no page made beforehand, no step of a redirect.
  if (!shown) return;
  shown = false;
  tell(state);
  if (activeSince) engaged += Date.now() - activeSince;
  activeSince = 0;
  emit("page_leave", undefined, { "Engaged time": Math.round(engaged / 1000), "Scroll depth": Math.min(100, depth) });
};

const gone = () => {
  drain();
  keep();
  leave();
};

/** A client-side route: the old page is left, the new one is viewed once its title is there. */
const routed = () => {
  if (cleanUrl(location.href) === page.url) return;
  const time = Date.now();
  left(1);
  drain();
  // Clicks of the next moment belong to the new address already.
  look();
  clearTimeout(coming);
  coming = setTimeout(viewed, 80, {}, time);
};

const wrap = (name: "pushState" | "replaceState") => {
  const original = history[name];
  history[name] = function (this: History, ...args: Parameters<History["pushState"]>) {
    original.apply(this, args);
    setTimeout(routed);
  };
};

const start = (given: Settings, script: string) => {
  setSettings(given);
  setOrigin(script);
  const ready = window as unknown as { convizit?: Record<string, unknown> & { q?: [string, IArguments][]; _bridge?: Bridge } };
  const queued = ready.convizit?.q || [];
  const convizit = (ready.convizit = ready.convizit || {});
  if (convizit._bridge) return;
  Object.entries(api).forEach(([name, run]) => (convizit[name] = api[name] = (...args) => quiet(() => run(...args))));
  convizit._bridge = {
    _emit: (type, el, properties) => emit(type, el && describe(el, type), properties),
    _consent: api.consent as Bridge["_consent"],
    _page: (rich) => {
      Object.assign(page, rich);
      hold(0);
      soon();
    },
    _onPage: (run) => {
      onPage.push(run);
      run(0);
    },
    _on: on,
    _learn: learn,
    _fold: fold,
    _gate: gate,
    _mayRead: mayRead,
    _skips: skips,
    _price: PRICE,
    _cleanUrl: cleanUrl,
  };
  // Consent and opt-out of the queue come before the first event.
  const early = /^(consent|opt|setP)/;
  const replay = (first: boolean) => queued.forEach(([name, args]) => early.test(name) === first && api[name]?.(...(args as unknown as never[])));
  replay(true);
  begin();
  replay(false);
};

const begin = () => {
  look();
  restore();
  // Said before the page's queue was read, or at an earlier visit.
  if (refused()) clear(), forget();
  listen(window, emit);
  if (settings.more) {
    hold(Date.now() + 2000);
    const load = () => {
      const script = document.createElement("script");
      script.src = `${origin}/t/${settings.key}/more.js?${page.language}`;
      document.head.append(script);
    };
    // Where there is no idle callback the script comes after what runs now.
    ((window.requestIdleCallback || setTimeout) as (run: () => void, options: object) => void)(load, { timeout: 300 });
  }
  // A route may have come before the page was there.
  const view = () => shown || viewed();
  on(document, "prerenderingchange", view);
  on(document, "DOMContentLoaded", () => {
    view();
    // The page's own scripts have set its title by now; what was captured before them belongs to the same page.
    Object.assign(page, pageBlock((pageReceipts = [])));
  });
  if (document.readyState !== "loading") view();
  // A page may have frozen its history.
  quiet(() => wrap("pushState"));
  quiet(() => wrap("replaceState"));
  on(window, "popstate", () => setTimeout(routed));
  quiet(() => on((window as unknown as { navigation: EventTarget }).navigation, "navigatesuccess", routed));
  on(document, "visibilitychange", () => {
    if (document.hidden) {
      if (activeSince) engaged += Date.now() - activeSince;
      activeSince = 0;
      tell(3);
      gone();
    } else {
      activeSince = Date.now();
      // What left without an answer.
      soon();
    }
  });
  on(window, "pagehide", () => {
    left(2);
    gone();
  });
  on(window, "pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) viewed();
  });
  on(window, "scroll", () => {
    const root = document.documentElement;
    const whole = root.scrollHeight - root.clientHeight;
    if (whole > 0) depth = Math.max(depth, Math.round((scrollY / whole) * 100));
  });
  on(window, "online", flush);
  setInterval(() => document.hidden || refresh(), 60_000);
  soon();
  // The customizer's token leaves the address before anybody else reads it; the second script loads the rest.
  if (/#convizit=/.test((settings.hash = location.hash))) history.replaceState(0, "", path + location.search);
};

quiet(() => {
  const given = (window as unknown as { convizitSettings?: Settings }).convizitSettings;
  const script = document.currentScript as HTMLScriptElement | null;
  if (given && script?.src) start(given, new URL(script.src).origin);
});
