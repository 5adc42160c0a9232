// The privacy gate: what may be read at all, and which texts are withheld. On any doubt or error nothing is captured.
import { settings } from "./config";

export interface Receipt {
  field: string;
  rule: string;
  by: "browser";
  rules: number;
}

/** What is typed into and has children: they are no text of their surroundings. */
export const EDITED = "textarea,[contenteditable]:not([contenteditable=false])";
const IGNORED = "[convizit-ignore]:not([convizit-ignore=false]),address";

const excluded = () => IGNORED + settings.excludeSelectors;

export const attr = (el: Element, name: string) => el.getAttribute(name) || "";

/** Whether something is typed into it: its content is never read. */
export const isField = (el: Element) =>
  !!el.closest(EDITED) || (el.localName === "input" && !/^(button|color|range|reset|submit|image|checkbox|radio)$/.test((el as HTMLInputElement).type));

/** Out of a shadow root or, where the origin is the same, of a frame. */
const outside = (node: Node): Element | null => {
  const { host } = node.getRootNode() as ShadowRoot;
  if (host) return host;
  try {
    return node.ownerDocument!.defaultView!.frameElement;
  } catch {
    return null;
  }
};

/** The composed parent. */
export const parentOf = (node: Element): Element | null => node.parentElement || outside(node);

/** Whether nothing around the element forbids capture. */
export const mayCapture = (el: Element | null): boolean => {
  try {
    const selector = excluded();
    for (let hops = 0; el; hops++) {
      if (hops > 20 || el.closest(selector)) return false;
      el = outside(el);
    }
    return true;
  } catch {
    return false;
  }
};

/** Whether a neighbour's text may be read: captured itself, and no part of a field. */
export const mayRead = (el: Element): boolean => mayCapture(el) && !isField(el);

/** Whether the walker of texts passes by. */
export const skips = (el: Element): boolean =>
  el.matches(`script,style,noscript,template,select,option,input,${EDITED},[hidden],[aria-hidden=true],[style*='display:none'],[style*='display: none'],[style*='y: hidden'],${excluded()}`);

/** Whether the form around a control asks for an address, a name, a birth date or a payment: choices in it are personal. */
export const inPrivateForm = (el: Element): boolean => {
  const form = (el as HTMLInputElement).form || el.closest("form,[role=form],fieldset");
  const fields = form ? [...form.querySelectorAll("input,select,textarea")] : [el];
  return (
    fields.length > 200 ||
    fields.some((field) => {
      const type = attr(field, "type");
      return (
        /^(email|tel|password)$/.test(type) ||
        /^(?!on$|off$)./.test(attr(field, "autocomplete")) ||
        (!/^(hidden|search|radio|checkbox|submit|button)$/.test(type) && new RegExp(settings.privateFields, "i").test(attr(field, "name") + " " + attr(field, "id") + " " + attr(field, "aria-label")))
      );
    })
  );
};

const SIGN = /(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf)\b)/.source;
const AMOUNT = /\d[\d.,'\u00a0\u202f]*/.source;
const MONEY = SIGN + "\\s?" + AMOUNT + "|" + AMOUNT + "\\s?" + SIGN + "(?!\\d)";
/** A price with its currency. */
export const PRICE = new RegExp(AMOUNT + SIGN + "|" + MONEY, "i");
// Known benign numbers, masked before digits are counted: money, grouped numbers (no part of an IP address), dates, counts.
const BENIGN = new RegExp(MONEY + /|(?:^|[^\d.+-])[1-9]\d{0,2}(?:[.,'\u00a0\u202f]\d{3})+(?!\.?\d)|(?:^|[^\d.+-])(?:[12]\d\d\d|\d\d?)([-/.]) ?\d\d?\1 ?(?:[12]\d\d\d|\d\d?)(?!\1?\d)|\b\d{1,5}(?:\s[-/–]\s|–)\d{1,5}(?!\d)|\(\d+ /.source, "gi");
const RULES: [string, RegExp][] = [
  ["email", /@[^\s@]+\.\p{L}{2}/u],
  ["ip", /(?:^|[^\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d)/],
  ["digits", /\d(?:[\s().\-–/_]{0,3}\d){6}|\+\d(?:[\s().\-–/_]{0,3}\d){5}/],
  ["mixed_token", /\b(?=[\w-]*[a-z])(?=[\w-]{7})(?:[a-z_-]*\d){5}/i],
  ["secret", /\beyJ[\w-]{9}|(?:\d[a-z]+[A-Z]|[A-Z]\d+[a-z]|[a-z][A-Z]+\d)[\w+/=-]{9,}/],
];

/** The rule that withholds a text, or nothing. */
export const ruleOf = (text: string): string | undefined => {
  // Thousands are grouped by spaces that NFKC would make plain ones. Which digit it is matters to no rule.
  // Decoded twice, as addresses hide in addresses; unlike decodeURIComponent unescape takes a bare %. What is looked for is ASCII.
  const plain = unescape(unescape(text.replace(/[\u200b-\u200f\u2060\ufeff]/g, "").replace(/[^\P{Nd}\d]/gu, "1").replace(BENIGN, " | ").normalize("NFKC")));
  if (!/[\d@]/.test(plain)) return;
  return RULES.find(([, pattern]) => pattern.test(plain))?.[0];
};

/** The text, or "" and a receipt. */
export const gate = (text: string, field: string, receipts: Receipt[]): string => {
  const rule = text && ruleOf(text);
  if (!rule) return text;
  if (!receipts.some((receipt) => receipt.field === field && receipt.rule === rule)) {
    receipts.push({ field, rule, by: "browser", rules: 2 });
  }
  return "";
};
