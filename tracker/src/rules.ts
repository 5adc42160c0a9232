// Made of rules/rules.json by build.mjs: the rules that the tracker has from its first moment.
const SIGN = /(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf)\b)/.source;
const AMOUNT = /\d[\d.,'\u00a0\u202f]*/.source;
const MONEY = SIGN + "\\s?" + AMOUNT + "|" + AMOUNT + "\\s?" + SIGN + "(?!\\d)";
/** A price with its currency. */
export const PRICE = new RegExp(AMOUNT + SIGN + "|" + MONEY, "i");
/** Known benign numbers, masked before digits are counted: money, grouped numbers (no part of an IP address), dates, counts. */
export const BENIGN = new RegExp(MONEY + /|(?:^|[^\d.+-])[1-9]\d{0,2}(?:[.,'\u00a0\u202f]\d{3})+(?!\.?\d)|(?:^|[^\d.+-])(?:[12]\d\d\d|\d\d?)([-/.]) ?\d\d?\1 ?(?:[12]\d\d\d|\d\d?)(?!\1?\d)|\b\d{1,5}(?:\s[-/–]\s|–)\d{1,5}(?!\d)|\(\d+ /.source, "gi");
export const RULES: [string, RegExp][] = [
  ["email", /@[^\s@]+\.\p{L}{2}/u],
  ["digits", /\d(?:[\s().\-–/_]{0,3}\d){6}|\+\d(?:[\s().\-–/_]{0,3}\d){5}/],
  ["mixed_token", /\b(?=[\w-]*[a-z])(?=[\w-]{7})(?:[a-z_-]*\d){5}/i],
  ["secret", /\beyJ[\w-]{9}|(?:\d[a-z]+[A-Z]|[A-Z]\d+[a-z]|[a-z][A-Z]+\d)[\w+/=-]{9,}/],
];
