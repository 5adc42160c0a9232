// Who and which visit: cookie and localStorage kept in step, each the other's fallback, memory last; or nothing at all.
import { settings } from "./config";

const NAME = "convizit";
const IDLE = 30 * 60_000;

export interface Session {
  id: string;
  start: string;
}

interface State {
  visitor: string;
  session: string;
  start: number;
  last: number;
}

let memory: State | undefined;
let saved = 0;

/** Random bytes as hexadecimal digits. */
export const randomHex = (bytes: number) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => (byte + 256).toString(16).slice(1)).join("");

/** UUID of version 7 (RFC 9562): 48 bits of time, then 72 random ones. */
export const uuid = (now: number) =>
  (now.toString(16).padStart(12, "0") + 7 + randomHex(9)).replace(/(.{8})(....)(....)(...)/, "$1-$2-$3-8$4-");

/** Storage where the settings and the browser allow it. */
export const storage = (): Storage | undefined => (settings.identity === "none" ? undefined : window.localStorage);

/** The domains that a cookie of this host may have, widest first. */
export const domains = (host: string): string[] => {
  const parts = /^[\d.]+$|:/.test(host) ? [] : host.split(".");
  return [...parts.slice(1).map((_, at) => parts.slice(-2 - at).join(".")), ""];
};

/** What may fail in a browser that has something off. */
export const quiet = <T>(run: () => T): T | undefined => {
  try {
    return run();
  } catch {
    /* off in this browser: the other place, or memory, has it */
    return;
  }
};

const writeCookie = (value: string, domain: string, seconds: number) => {
  document.cookie = `${NAME}=${value};path=/;max-age=${seconds};samesite=lax${domain && ";domain=" + domain}${location.protocol === "https:" ? ";secure" : ""}`;
};

const readCookie = () => /(?:^|; )convizit=([^;]*)/.exec(document.cookie)?.[1];

let domain: string | undefined;

const save = (state: State) => {
  saved = state.last;
  const value = Object.values(state).join(".");
  const seconds = Math.min(settings.cookieDays, 400) * 86_400;
  if (settings.identity === "cookie+storage") {
    quiet(() => {
      if (domain !== undefined) writeCookie(value, domain, seconds);
      // The registrable domain is the widest that the browser takes.
      else
        domain = domains(location.hostname).find((candidate) => {
          writeCookie(value, candidate, seconds);
          return readCookie() === value;
        });
    });
  }
  quiet(() => storage()!.setItem(NAME, value));
};

/** Of cookie and storage the one with the newest activity. */
const load = (): State | undefined =>
  [settings.identity === "cookie+storage" && quiet(readCookie), quiet(() => storage()!.getItem(NAME))]
    .filter((text) => /^([\w-]{8,40}\.){2}\d+\.\d+$/.test(text as string))
    .map((text) => {
      const [visitor, session, start, last] = (text as string).split(".");
      return { visitor: visitor!, session: session!, start: +start!, last: +last! };
    })
    .sort((a, b) => b.last - a.last)[0];

/** Visitor and session for an event at this time; a session ends after 30 minutes without one. */
export const identify = (now: number): { visitor?: string; session?: Session } => {
  if (settings.identity === "none") return {};
  // Another tab may have gone on with the session or begun a new one.
  let state = memory && now - memory.last < 10_000 ? memory : load() || memory;
  const fresh = !state || now - state.last > IDLE;
  if (fresh) state = { visitor: state?.visitor || randomHex(14), session: randomHex(10), start: now, last: now };
  state!.last = Math.max(state!.last, now);
  memory = state;
  if (fresh || now - saved > 30_000) save(state!);
  return { visitor: state!.visitor, session: { id: state!.session, start: new Date(state!.start).toISOString() } };
};

/** Writes the session's end of activity when the page goes, unless another tab went on since, or forgot the visitor. */
export const keep = () => {
  // Where one of them is missing, neither is less.
  if (load()?.last! < memory?.last!) save(memory!);
};

/** A new visitor: on logout, opt-out, withdrawn consent. */
export const forget = () => {
  memory = undefined;
  saved = 0;
  quiet(() => domains(location.hostname).forEach((candidate) => writeCookie("", candidate, 0)));
  quiet(() => storage()!.removeItem(NAME));
};
