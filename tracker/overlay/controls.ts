// Which controls the page has, what a click on each would send, and where they are: by the tracker's own capture code.
import { FILES } from "../src/capture";
import { describe, targetOf } from "../src/describe";
import { classWords, controlOf } from "../src/element";
import { mayCapture, parentOf } from "../src/privacy";
import type { Shown } from "./server";

const CONTROLS = "a[href],area[href],button,input,select,textarea,summary,[role],[onclick],[tabindex]:not([tabindex^='-'])";
/** Controls that are outlined at once, at most. */
const MOST = 300;
/** Pixels around the window in which controls are looked up before they are scrolled to. */
const AROUND = 300;

/** The page's documents and open shadow roots, at most so many. */
const roots = (host: Element): (Document | ShadowRoot)[] => {
  const out: (Document | ShadowRoot)[] = [document];
  for (let at = 0; at < out.length && out.length < 50; at++) {
    for (const el of out[at]!.querySelectorAll("*")) {
      if (el === host) continue;
      if (el.shadowRoot) out.push(el.shadowRoot);
      else if (el.localName === "iframe") {
        try {
          const inner = (el as HTMLIFrameElement).contentDocument;
          if (inner) out.push(inner);
        } catch {
          /* another origin */
        }
      }
    }
  }
  return out;
};

/** What a click or a choice at this place is meant for; `null` for mere text. */
export const controlAt = (start: Element): Element | null => {
  const [el, inert] = controlOf(start);
  if (inert) return null;
  const labelled = el.localName === "label" ? (el as HTMLLabelElement).control : null;
  return labelled || el;
};

/** The event that the control would send, or null where its page or the settings keep it out. */
export const shownOf = (el: Element): Shown | null => {
  const link = el.closest("a[href]") as HTMLAnchorElement | null;
  const file = link && FILES.exec(link.pathname);
  for (const type of ["click", "change"]) {
    if (!targetOf(el, type)) continue;
    const found = describe(el, type);
    if (!found) continue;
    const properties = { ...found.properties };
    if (file) properties["File type"] = file[1]!.toLowerCase();
    else if (link && /^http/.test(link.protocol) && link.host !== location.host) properties["Link domain"] = link.hostname;
    return { ...found, properties, type: type === "click" && (file || link?.hasAttribute("download")) ? "download" : type };
  }
  return null;
};

/** Whether the page itself or a selector of the settings keeps it out. */
export const isExcluded = (el: Element) => !mayCapture(el);

/** Where it is in the window, frames counted in. */
export const boxOf = (el: Element): DOMRect => {
  let { x, y, width, height } = el.getBoundingClientRect();
  // A control may be hidden behind its label.
  const label = width < 5 || height < 5 ? (el as HTMLInputElement).labels?.[0] : undefined;
  if (label) ({ x, y, width, height } = label.getBoundingClientRect());
  for (let view = el.ownerDocument.defaultView; view && view !== window; view = view.parent as typeof view) {
    const frame = view.frameElement?.getBoundingClientRect();
    x += frame?.x || 0;
    y += frame?.y || 0;
  }
  return new DOMRect(x, y, width, height);
};

const isShown = (el: Element, box: DOMRect) =>
  box.width > 1 && box.height > 1 && box.right > -AROUND && box.bottom > -AROUND && box.left < innerWidth + AROUND && box.top < innerHeight + AROUND &&
  el.checkVisibility?.({ visibilityProperty: true }) !== false;

/** The controls in and around the window, in the page's order. */
export const controlsOf = (host: Element): Element[] => {
  const out = new Set<Element>();
  for (const root of roots(host)) {
    for (const start of root.querySelectorAll(CONTROLS)) {
      if (out.size >= MOST) return [...out];
      const el = controlAt(start);
      // What only takes the focus, such as a region that scrolls, is no control.
      if (!el || host.contains(el) || /^(region|group|presentation|none|main|navigation|banner|list|listitem|status|alert)$/.test(el.getAttribute("role") || "")) continue;
      if (!out.has(el) && isShown(el, boxOf(el))) out.add(el);
    }
  }
  return [...out];
};

/** What lies under a point of the window, below the overlay. */
export const under = (host: Element, x: number, y: number): Element | null => {
  let root: Document | ShadowRoot = document;
  for (let depth = 0; depth < 20; depth++) {
    const el: Element | undefined = root.elementsFromPoint(x, y).find((one) => one !== host);
    if (!el) return null;
    if (el.shadowRoot && el.shadowRoot !== root) {
      root = el.shadowRoot;
      if (root.elementsFromPoint(x, y).length) continue;
      return el;
    }
    try {
      const inner: Document | null | false = el.localName === "iframe" && (el as HTMLIFrameElement).contentDocument;
      if (!inner) return el;
      const box = el.getBoundingClientRect();
      x -= box.x;
      y -= box.y;
      root = inner;
    } catch {
      return el;
    }
  }
  return null;
};

const AUTHOR = ["data-testid", "data-qa", "data-cy", "data-test"];

/** A selector that finds the control, and how many elements of the page it finds. */
export const selectorOf = (el: Element): [string, number] => {
  const own = (at: Element): [string, boolean] => {
    if (at.id && !/\d{3}/.test(at.id)) return ["#" + CSS.escape(at.id), true];
    const author = AUTHOR.find((name) => at.hasAttribute(name));
    if (author) return [`[${author}=${JSON.stringify(at.getAttribute(author))}]`, true];
    return [at.localName + classWords(at).slice(0, 2).map((word) => "." + CSS.escape(word)).join(""), false];
  };
  const root = el.getRootNode() as Document | ShadowRoot;
  const count = (selector: string) => root.querySelectorAll(selector).length;
  let [selector, sure] = own(el);
  for (let at = parentOf(el), climb = 0; !sure && at && at.getRootNode() === root && climb < 4 && !/^(body|html)$/.test(at.localName) && count(selector) > 1; climb++, at = parentOf(at)) {
    const [outer, end] = own(at);
    selector = `${outer} > ${selector}`;
    sure = end;
  }
  return [selector, count(selector)];
};
