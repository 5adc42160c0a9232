// The tracker: one script with its settings before it. Every entry point is guarded; the page never notices.
import { clicks, errors, listen, on, signs } from "./capture";
import { excludedPath, setSettings, settings, type Settings } from "./config";
import { consentNow, mayTrack, setConsent, setOut } from "./consent";
import { describe, type Described } from "./describe";
import { forget, identify, keep, quiet, uuid } from "./identity";
import { cleanUrl, pageBlock, type Page } from "./page";
import { gate, type Receipt } from "./privacy";
import { add, clear, isEmpty, restore, type WireEvent } from "./queue";
import type { Properties } from "./record";
import { flush, hold, leave, refresh, setOrigin, soon } from "./transport";

/** What the second script finds of the first. */
export interface Bridge {
  _emit: (type: string, el?: Element | null, properties?: Properties) => void;
  _clicks: typeof clicks;
  _errors: typeof errors;
  _signs: typeof signs;
  _consent: typeof setConsent;
  _page: (rich: Record<string, unknown>) => void;
  _onPage: (run: () => void) => void;
  _on: typeof on;
}

type Value = string | number | boolean | null;

let page: Page;
let pageReceipts: Receipt[] = [];
let own: Record<string, Value> = {};
let user: string | undefined;
let engaged = 0;
let activeSince = 0;
let depth = 0;
let onPage: (() => void)[] = [];
let later: (() => void)[] = [];

const warn = (text: string) => console.warn("convizit: " + text);

/** After the page's own handlers; at once when it goes. */
const after = (run: () => void) => {
  later.push(run);
  if (later.length === 1) setTimeout(drain);
};

const drain = () => {
  const runs = later;
  later = [];
  runs.forEach(quiet);
};

const emit = (type: string, described?: Described | null, properties: Properties = {}, time = Date.now(), name?: string) => {
  if (described === null || !settings.events.includes(type) || !mayTrack() || excludedPath(location.pathname)) return;
  const at = page;
  after(() => {
    const event: WireEvent = { id: uuid(time), type, time: new Date(time).toISOString() };
    const withheld = [...((described && described.withheld) || []), ...pageReceipts];
    const all = { ...own, ...(described && described.properties), ...properties };
    for (const key of Object.keys(all)) if (all[key] === undefined) delete all[key];
    if (described) event.descriptor = described.descriptor;
    if (name) event.name = gate(name, "name", withheld);
    if (Object.keys(all).length) event.properties = all;
    if (withheld.length) event.withheld = withheld;
    add(event, { ...identify(time), ...(user && { user }), consent: consentNow(), page: at });
    soon();
  });
};

const checked = (properties: unknown, what: string): Record<string, Value> => {
  const out: Record<string, Value> = {};
  const entries = properties && typeof properties === "object" ? Object.entries(properties) : [];
  for (const [key, value] of entries) {
    const problem =
      Object.keys(out).length > 49
        ? "over 50 properties"
        : !key || key.length > 255
          ? "key over 255 characters"
          : value !== null && !/string|number|boolean/.test(typeof value)
            ? "no string, number, boolean or null"
            : String(value).length > 255 || value !== value
              ? "over 255 characters"
              : 0;
    if (problem) warn(`${what}: ${key}: ${problem}`);
    else out[key] = value as Value;
  }
  return out;
};

const api: Record<string, (...args: never[]) => void> = {
  track: (name: string, properties?: unknown) => {
    if (typeof name !== "string" || !name || name.length > 255) return warn("track: name over 255 characters");
    emit("coded", undefined, checked(properties, "track"), Date.now(), name);
  },
  setProperties: (properties: unknown) => {
    own = { ...own, ...checked(properties, "setProperties") };
  },
  identify: (id: string, traits?: unknown) => {
    if (typeof id !== "string" || !id || id.length > 128) return warn("identify: id over 128 characters");
    user = id;
    emit("identify", undefined, checked(traits, "identify"));
  },
  reset: () => {
    drain();
    user = undefined;
    own = {};
    forget();
  },
  page: (properties?: unknown) => viewed(checked(properties, "page")),
  consent: (state: never) => {
    const before = mayTrack();
    setConsent(state);
    changed(before);
  },
  optOut: () => {
    setOut(true);
    changed(true);
  },
  optIn: () => {
    const before = mayTrack();
    setOut(false);
    changed(before);
  },
  flush: () => {
    drain();
    hold(0);
    flush();
  },
};

const changed = (before: boolean) => {
  if (!mayTrack()) {
    later = [];
    clear();
  } else if (!before) viewed();
};

const viewed = (properties: Properties = {}, time = Date.now()) => {
  pageReceipts = [];
  page = pageBlock(pageReceipts);
  engaged = depth = 0;
  activeSince = document.visibilityState === "visible" ? Date.now() : 0;
  for (const run of onPage) run();
  emit("page_view", undefined, properties, time);
};

const left = () => {
  if (activeSince) engaged += Date.now() - activeSince;
  activeSince = 0;
  emit("page_leave", undefined, { "Engaged time": Math.round(engaged / 1000), "Scroll depth": Math.min(100, depth) });
};

/** A client-side route: the old page is left, the new one is viewed once its title is there. */
const routed = () => {
  if (cleanUrl(location.href) === page.url) return;
  const time = Date.now();
  left();
  drain();
  // Clicks of the next moment belong to the new address already.
  page = pageBlock();
  setTimeout(() => viewed({}, time), 80);
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
  const queued = (ready.convizit && ready.convizit.q) || [];
  const convizit = (ready.convizit = ready.convizit || {});
  if (convizit._bridge) return;
  const guarded: Record<string, (...args: unknown[]) => void> = {};
  for (const name of Object.keys(api)) {
    convizit[name] = guarded[name] = (...args: unknown[]) => quiet(() => (api[name] as (...args: unknown[]) => void)(...args));
  }
  convizit._bridge = {
    _emit: (type, el, properties) => emit(type, el && describe(el, type), properties),
    _clicks: clicks,
    _errors: errors,
    _signs: signs,
    _consent: (state) => guarded.consent!(state),
    _page: (rich) => {
      Object.assign(page, rich);
      hold(0);
      if (!isEmpty()) soon();
    },
    _onPage: (run) => {
      onPage.push(run);
      run();
    },
    _on: on,
  };
  // Consent and opt-out of the queue come before the first event.
  const early = /^(consent|opt|setP)/;
  const replay = (first: boolean) => queued.forEach(([name, args]) => early.test(name) === first && guarded[name]?.(...args));
  replay(true);
  begin();
  replay(false);
};

const begin = () => {
  page = pageBlock();
  restore();
  listen(window, emit);
  if (settings.more) {
    hold(Date.now() + 2000);
    const load = () => {
      const script = document.createElement("script");
      script.async = true;
      script.src = `${origin}/t/${settings.key}/more.js`;
      document.head.appendChild(script);
    };
    // Where there is no idle callback the script comes after what runs now.
    ((window.requestIdleCallback || setTimeout) as (run: () => void, options: object) => void)(load, { timeout: 300 });
  }
  const view = () => viewed();
  // A prerendered page is viewed when it is shown.
  if ((document as unknown as { prerendering?: boolean }).prerendering) on(document, "prerenderingchange", view);
  else if (document.readyState === "loading") on(document, "DOMContentLoaded", view);
  else view();
  wrap("pushState");
  wrap("replaceState");
  on(window, "popstate", () => setTimeout(routed));
  const navigation = (window as unknown as { navigation?: EventTarget }).navigation;
  if (navigation) on(navigation, "navigatesuccess", routed);
  on(document, "visibilitychange", () => {
    if (document.visibilityState === "visible") activeSince = Date.now();
    else {
      if (activeSince) engaged += Date.now() - activeSince;
      activeSince = 0;
      drain();
      keep();
      leave();
    }
  });
  on(window, "pagehide", () => {
    left();
    drain();
    keep();
    leave();
  });
  on(window, "pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) viewed();
  });
  on(window, "scroll", () => {
    const root = document.documentElement;
    const whole = root.scrollHeight - root.clientHeight;
    if (whole > 0) depth = Math.max(depth, Math.round(((window.scrollY || 0) / whole) * 100));
  });
  on(window, "online", () => flush());
  setInterval(() => document.visibilityState === "visible" && refresh(), 60_000);
  if (!isEmpty()) soon();
};

let origin = "";
quiet(() => {
  const given = (window as unknown as { convizitSettings?: Settings }).convizitSettings;
  const script = document.currentScript as HTMLScriptElement | null;
  origin = script && script.src ? new URL(script.src).origin : "";
  if (given && origin) start(given, origin);
});
