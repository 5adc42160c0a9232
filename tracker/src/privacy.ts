// The privacy gate: what may be read at all, and which texts are withheld. On any doubt or error nothing is captured.
import { settings } from "./config";
import { BENIGN, RULES } from "./rules";

export interface Receipt {
  field: string;
  rule: string;
  by: "browser";
  rules: number;
}

/** What is typed into and has children: they are no text of their surroundings. */
export const EDITED = "textarea,[contenteditable]:not([contenteditable=false])";
const IGNORED = "[convizit-ignore]:not([convizit-ignore=false]),address";

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

/** Whether it lies in what is selected; whoever cannot tell says so. */
const within = (el: Element | null, selector: string): boolean => {
  try {
    for (let hops = 0; el; el = outside(el)) {
      if (++hops > 20 || el.closest(selector)) return true;
    }
    return false;
  } catch {
    return true;
  }
};

/** Whether nothing around the element forbids capture. */
export const mayCapture = (el: Element | null): boolean => !within(el, IGNORED + settings.excludeSelectors);

/** The other rules; without a text, whether the words of the page's language are among them. */
export type Later = (text?: string) => string | boolean | undefined;
let later: Later | undefined;

export const learn = (rules: Later) => {
  later = rules;
};

/** Excluded, or in a greeting, an account or an address as long as the words that tell persons are not there. */
const hidden = () => IGNORED + settings.excludeSelectors + (later?.() ? "" : settings.privatePlaces);

const isHidden = (el: Element): boolean => within(el, hidden());

/** Whether a neighbour's text may be read: captured itself, and no part of a field. */
export const mayRead = (el: Element): boolean => !isHidden(el) && !isField(el);

/** The first of these parts, or in them, that is selected and may be read. */
export const first = (scope: Element[], selector: string): Element | undefined => {
  for (const part of scope) {
    if (part.matches(selector)) return part;
    const found = part.querySelector(selector);
    if (found && mayRead(found)) return found;
  }
  return;
};

/** Whether the walker of texts passes by. */
export const skips = (el: Element): boolean =>
  el.matches(`script,style,noscript,template,select,option,input,${EDITED},[hidden],[aria-hidden=true],[style*='y:none'],[style*='y: none'],[style*='y: hidden'],${hidden()}`);

/** Whether the form around a control asks for an address, a name, a birth date or a payment: choices in it are personal. */
export const inPrivateForm = (el: Element): boolean => {
  const form = (el as HTMLInputElement).form || el.closest("form,[role=form],fieldset");
  const fields = form ? [...form.querySelectorAll("input,select,textarea")] : [el];
  return (
    fields.length > 200 ||
    fields.some((field) => {
      const type = attr(field, "type");
      return (
        /^(email|tel|pass)/.test(type) ||
        /^(?!on$|off$)./.test(attr(field, "autocomplete")) ||
        (!/^(hidden|search|radio|checkbox|submit|button)$/.test(type) && new RegExp(settings.privateFields, "i").test(attr(field, "name") + " " + attr(field, "id") + " " + attr(field, "aria-label")))
      );
    })
  );
};

/** The rule that withholds a text, or nothing. */
export const ruleOf = (text: string): string | undefined => {
  // Thousands are grouped by spaces that NFKC would make plain ones. Which digit it is matters to no rule.
  // Decoded twice, as addresses hide in addresses; unlike decodeURIComponent unescape takes a bare %. What is looked for is ASCII.
  const plain = unescape(unescape(text.replace(/[\u200b-\u200f\u2060\ufeff]/g, "").replace(/[^\P{Nd}\d]/gu, "1").replace(BENIGN, " | ").normalize("NFKC")));
  return (/[\d@]/.test(plain) && RULES.find(([, pattern]) => pattern.test(plain))?.[0]) || (later?.(text) as string | undefined);
};

export const withhold = (rule: string, field: string, receipts: Receipt[]) => {
  receipts.push({ field, rule, by: "browser", rules: 2 });
};

/** The text, or "" and a receipt; `el` is the control that it is said of. */
export const gate = (text: string, field: string, receipts: Receipt[], el?: Element): string => {
  const rule = text && (el && isHidden(el) ? "private_place" : ruleOf(text));
  if (!rule) return text;
  withhold(rule, field, receipts);
  return "";
};
