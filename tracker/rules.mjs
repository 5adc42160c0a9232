// The table of rules (rules/) as the tracker has it: the core's few and those that can wait as source, the words of each language as data.
import { readFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";

const read = (name) => JSON.parse(readFileSync(path.join(import.meta.dirname, "../rules", name), "utf8"));
const { browser, rules } = read("rules.json");
const words = read("words.json");

const literal = (pattern, flags) => String(new RegExp(pattern, flags));
const escaped = (text) => text.replace(/[.+*?^$(){}[\]\\|/]/g, "\\$&");
/** The longest first: "welcome back" is tried before "welcome". */
const anyOf = (list) => [...new Set(list)].sort((a, b) => b.length - a.length || (a < b ? -1 : 1)).map(escaped).join("|");

/** The source of src/rules.ts: what the tracker has from its first moment. */
export const core = () => `// Made of rules/rules.json by build.mjs: the rules that the tracker has from its first moment.
const SIGN = ${literal(browser.sign)}.source;
const AMOUNT = ${literal(browser.amount)}.source;
const MONEY = SIGN + "\\\\s?" + AMOUNT + "|" + AMOUNT + "\\\\s?" + SIGN + "(?!\\\\d)";
/** A price with its currency. */
export const PRICE = new RegExp(AMOUNT + SIGN + "|" + MONEY, "i");
/** Known benign numbers, masked before digits are counted: money, grouped numbers (no part of an IP address), dates, counts. */
export const BENIGN = new RegExp(MONEY + ${literal("|" + browser.benign)}.source, "gi");
export const RULES: [string, RegExp][] = [
${browser.rules.map(({ id, pattern, flags }) => `  ["${id}", ${literal(pattern, flags)}],`).join("\n")}
];
`;

/** The source of src/later.ts: rules of every language, for the second script. */
export const later = () => `// Made of rules/ by build.mjs: rules that can wait for the second script.
/** Rule, whether it is tried on the text as it is instead of in lower case, pattern. */
export const ROWS: [string, boolean, RegExp][] = [
${rules.filter((row) => row.browser === true).map(({ id, as_is, pattern }) => `  ["${id}", ${!!as_is}, ${literal(pattern, "u")}],`).join("\n")}
];
/** Words that are no names, in every language, and those that begin no address. */
export const NO_NAME = ${JSON.stringify(anyOf(words.no_name.en))};
export const NO_PLACE = ${JSON.stringify(anyOf(words.no_place.en))};
`;

/** Languages whose words are listed together: what one greets with, the others understand. */
const KIN = [["da", "no", "sv"], ["cs", "sk"], ["id", "ms"], ["hr", "sr"]];
/** Codes of languages that are listed under another one. */
const ALIASES = { nb: "no", nn: "no", sl: "hr", bs: "hr", iw: "he", in: "id", fil: "tl" };
/** Scripts without spaces between words: crates/pipeline/src/scrub/announced.rs, \`joins\`. */
const JOINS = "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7af";
const joins = new RegExp(`^[${JOINS}]+$`, "u");
const JOINED = ["ja", "ko", "th", "zh"];

/** What stands before a name, and what is none: an expression each, which the second script puts together. */
function wordsOf(language, fewer = 0) {
  const family = KIN.find((kin) => kin.includes(language)) ?? [language];
  const of = (kind) => family.flatMap((one) => words[kind][one] ?? []);
  const joined = JOINED.includes(language);
  const signed = of("signed").slice(0, -fewer || undefined);
  const single = (word) => !word.includes(" ") && !joined;
  const after = (list, mark) => (list.length ? [`(?:${anyOf(list)})${mark}`] : []);
  const street = of("street");
  const patterns = rules.filter((row) => Array.isArray(row.browser) && row.browser.includes(language)).map((row) => row.pattern);
  if (street.length) {
    const short = (word) => /[./]$/.test(word);
    const begins = [...after(street.filter(short), " ?"), ...after(street.filter((word) => !short(word)), " ")].join("|");
    patterns.push(rules.find((row) => row.browser === "street").pattern.replace("{street}", `(?:${begins})`));
  }
  return {
    name: [
      ...after([...of("greet"), ...signed.filter((word) => !single(word) && !joined)], joined ? "[ ,:、]*" : "[ ,:،]+"),
      ...after(of("honorific"), "[. ]+"),
      ...after(signed.filter((word) => single(word) || joined), " ?: *"),
    ].join("|"),
    place: [...after(of("ship"), joined ? "[ ,:]*" : "[ ,:]+"), ...after(of("place"), " ?:[ ,]*")].join("|"),
    // Of scripts without spaces what the rest begins with, up to the end of the text; of others the word.
    what: joined ? `([${JOINS}].{1,38})$` : "(\\p{Alphabetic}{2}[\\p{Alphabetic}\\p{M}]*(?:['’-][\\p{Alphabetic}\\p{M}]+)*)",
    none: joined ? anyOf(Object.values(words.no_name).flat().filter((word) => joins.test(word))) + "|" : language === "en" ? "" : `(?:${anyOf(of("no_name"))})$|`,
    address: patterns,
  };
}

/** dist/more/words.json: for each language its words. Where they are more than `most` bytes after gzip, the last of those that name whoever signed in stay with the server. */
export const languages = (most) => {
  const known = Object.keys(words.greet);
  const all = [...known.map((language) => [language, language]), ...Object.entries(ALIASES)];
  const fitting = (language, of) => {
    for (let fewer = 0; ; fewer++) {
      const found = { language, ...wordsOf(of, fewer) };
      if (gzipSync(JSON.stringify(found), { level: 9 }).length <= most) return found;
    }
  };
  return Object.fromEntries(all.map(([language, of]) => [language, fitting(language, of)]));
};
