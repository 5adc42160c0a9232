// From the node under the pointer to the control: target, role, stable attributes, path, context chain.
import { ariaName, iconOf, textOf, words } from "./label";
import { attr, mayRead, parentOf, ruleOf } from "./privacy";

const WIDGET = /^(button|link|tab$|option|menui|checkb|radio$|sw|treei|combo|sli|spin|textb|searchb|gridc)/;

const isActionable = (el: Element) =>
  el.matches("a[href],area[href],button,input,select,textarea,summary,label,option,[onclick],[tabindex]:not([tabindex^='-'])") || WIDGET.test(attr(el, "role"));

const pointer = (el: Element) => el.ownerDocument.defaultView?.getComputedStyle(el).cursor === "pointer";

/** Beyond it nothing is a part of something. */
export const TOP = "main,body,html";

/** The control of a click: nested spans and icons belong to it; [control, inert]. */
export const controlOf = (start: Element): [Element, boolean] => {
  let el: Element | null = start;
  for (let climb = 0; el && climb < 8 && !el.matches("body,html"); climb++) {
    if (isActionable(el)) return [el, false];
    el = parentOf(el);
  }
  // Where the pointer becomes a hand, the control begins.
  if (pointer(start)) {
    let edge = start;
    for (let climb = 0; climb < 8; climb++) {
      const parent = edge.parentElement;
      if (!parent || parent.localName === "body" || !pointer(parent)) break;
      edge = parent;
    }
    return [edge, false];
  }
  return [start, true];
};

export const tagOf = (el: Element) =>
  el.localName + (el.localName === "input" ? ":" + (el as HTMLInputElement).type : "");

/** The role that its author gave it; of a native one the tag says enough. */
export const roleOf = (el: Element): string => {
  const explicit = attr(el, "role").trim().split(" ")[0]!;
  return /^(none|presen|gener)/.test(explicit) ? "" : explicit.slice(0, 40);
};

/** Class words that a person wrote; what a build hashed has digits. */
export const classWords = (el: Element) =>
  [...el.classList].map((name) => name.replace(/__?\w*\d\w*$/, "")).filter((name) => /^\D{2,60}$/.test(name)).slice(0, 6);

/** The stable attributes: they only serve to find the control again. */
export const attributesOf = (el: Element): Record<string, string> => {
  const out: Record<string, string> = {};
  const put = (name: string, text: string) => {
    if (text && text.length < 100 && !ruleOf(text)) out[name] = text;
  };
  for (const { name, value } of el.attributes) {
    // Of an address neither query nor fragment; of a field only what its author named it.
    if (name === "href") put(name, value.replace(/[?#].*$/s, "").replace(/^(?!https?:)(\w+:).*/s, "$1"));
    else if (/^(id|name|type|itemprop)$/.test(name) || (/^data-/.test(name) && mayRead(el) && Object.keys(out).length < 9)) put(name, value);
  }
  put("class", classWords(el).join(" "));
  const icon = el.querySelector("use");
  if (icon) put("icon", iconOf(icon));
  return out;
};

/** Tags from the nearest landmark, without positions. */
export const pathFrom = (el: Element): string => {
  const out: string[] = [];
  for (let at: Element | null = el; at && out.length < 12; at = parentOf(at)) {
    out.unshift(at.localName);
    if (/^(main|nav|header|footer|aside|dialog|form|body)$/.test(at.localName)) break;
  }
  return out.join(">");
};

/** The first match inside; where thousands of elements are, one near the beginning: a search without a match would go through all of them. */
export const firstIn = (el: Element, selector: string): Element | null | undefined => {
  const all = el.getElementsByTagName("*");
  return all[3000] ? [...Array(99)].map((_, at) => all[at]!).find((inner) => inner.matches(selector)) : el.querySelector(selector);
};

export const HEADING = "h1,h2,h3,h4,h5,h6,[role=heading]";

/** The container's accessible name, legend, caption or first heading. */
export const nameOfContainer = (el: Element): string => {
  const named = ariaName(el);
  if (named) return named;
  const heading = firstIn(el, el.localName === "fieldset" ? "legend" : el.localName === "table" ? "caption" : HEADING);
  return heading && mayRead(heading) ? textOf(heading, 40).slice(0, 80) : "";
};

/** Where the control stands, inner to outer, by role or tag: the server knows which are the same. */
export const contextOf = (el: Element): { kind: string; name: string }[] => {
  const out: { kind: string; name: string }[] = [];
  for (let at = parentOf(el), climb = 0; at && climb < 40 && out.length < 6; at = parentOf(at), climb++) {
    const kind = attr(at, "role") || at.localName;
    if (!/^((alert)?dialog|form|section|region|article|fieldset|(radio)?group|table|grid|tabpanel|nav|navigation|header|banner|main|aside|complementary|footer|contentinfo|search)$/.test(kind)) continue;
    const wide = /^(main|header|banner|footer|contentinfo)$/.test(kind);
    out.push({ kind, name: wide ? ariaName(at) : nameOfContainer(at) || (kind === "form" ? words(attr(at, "id") || attr(at, "name")) : "") });
  }
  return out;
};
