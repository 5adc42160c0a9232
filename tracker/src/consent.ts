// Whether anything may be captured: the site's consent, Global Privacy Control, opt-out.
import { settings } from "./config";
import { forget, quiet, storage } from "./identity";

export interface Consent {
  analytics: boolean | null;
  ads: boolean | null;
  gpc: boolean;
}

const OUT = "convizit.out";

let given: { analytics: boolean | null; ads: boolean | null } = { analytics: null, ads: null };
let out = false;

const signals = navigator as unknown as { globalPrivacyControl?: boolean; doNotTrack?: string };
const gpc = () => signals.globalPrivacyControl === true;

const optedOut = () => out || quiet(() => storage()!.getItem(OUT));

export const consentNow = (): Consent => ({ ...given, gpc: gpc() });

/** Whether the visitor said no: what waits is dropped, too. */
export const refused = () => optedOut() || (settings.honourGpc && gpc()) || (settings.honourDnt && signals.doNotTrack === "1") || given.analytics === false;

/** Whether events may be captured now. */
export const mayTrack = () => !refused() && (!settings.consentRequired || given.analytics === true);

/** What the site, or a consent platform, says; what is left out stays as it was. */
export const setConsent = (said: Partial<Consent>) => {
  for (const key of ["analytics", "ads"] as const) {
    if (typeof said[key] === "boolean") given = { ...given, [key]: said[key] };
  }
  if (given.analytics === false) forget();
};

export const setOut = (value: boolean) => {
  out = value;
  if (value) forget();
  quiet(() => (value ? storage()!.setItem(OUT, "1") : storage()!.removeItem(OUT)));
};
