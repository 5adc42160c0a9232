// The rules that can wait: those that the core has no room for, and what the words of the page's language announce.
// The server puts the language's words in place of `WORDS` (dist/more/words.json).
import type { Bridge } from "../src/index";
import { NO_NAME, NO_PLACE, ROWS } from "../src/later";

/** What tracker/rules.mjs makes of a language's words: expressions, each a part of one. */
interface Words {
  language: string;
  /** What stands before a name, and what it is; what no name is, up to the end of the expression. */
  name: string;
  what: string;
  none: string;
  /** What stands before an address. */
  place: string;
  /** Addresses as they are written there. */
  address: string[];
}
declare const WORDS: Words | undefined;

const known = WORDS;
const behind = (words: string) => new RegExp(`(?:^|[^\\p{Alphabetic}\\p{N}])(?:${words})${known!.what}`, "gu");
const names = known && behind(known.name);
const places = known?.place ? behind(known.place) : undefined;
const addresses = known?.address.map((pattern) => new RegExp(pattern, "u"));
const noName = new RegExp(`^(?:${known?.none}(?:${NO_NAME})$)`, "u");
const noPlace = new RegExp(`^(?:${NO_PLACE})$`, "u");

/** What only the server reads as it is meant: entities, numerals that are no digits, thousands with spaces of their own. */
const ODD = /&#?\w+;|[^\P{N}\p{Nd}]|\p{Nd}[\u00a0\u202f\u2009]\p{Nd}/u;
const INVISIBLE = /[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u{e0000}-\u{e007f}]/gu;

const ruleOf = (given: string): string | undefined => {
  // No text that the tracker sends is longer; some expressions take its length squared.
  if (given.length > 999 || ODD.test(given)) return;
  let text = given.normalize("NFKC").replace(INVISIBLE, "").replace(/[^\P{Nd}\d]/gu, "1");
  try {
    for (let times = 0; times < 2; times++) text = decodeURIComponent(text);
  } catch {
    // A bare %: nothing is hidden behind it, or the server finds it.
  }
  text = text.replace(/[\s\p{Cc}]+/gu, " ")
    // The one letter whose small form is longer.
    .replace(/İ/g, "I");
  const low = text.toLowerCase();
  const row = ROWS.find(([, asIs, pattern]) => pattern.test(asIs ? text : low));
  if (row) return row[0];
  if (!known || low.length !== text.length) return;
  if (/\d/.test(low) && addresses!.some((pattern) => pattern.test(low))) return "address";
  // Names are written with a capital where the script has one.
  for (const found of low.matchAll(names!)) {
    const word = found[1]!;
    if (!noName.test(word) && /^[\p{Lu}\p{Lo}]/u.test(text.slice(found.index + found[0].length - word.length))) return "person";
  }
  for (const found of places ? low.matchAll(places) : []) if (!noPlace.test(found[1]!)) return "address";
  return;
};

(window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge?._learn((text) =>
  text === undefined ? known?.language === document.documentElement.lang.split("-")[0]!.toLowerCase() : ruleOf(text),
);
