// The accessible name in a few bytes: a subset of W3C accname 1.2, then fallbacks for controls that have none.
import { classWords } from "./element";
import { attr, EDITED, first, isField, mayRead, skips } from "./privacy";

const LABEL = 120;

// So much of a text is more than any use of it keeps.
export const fold = (text: string | null | undefined) => (text || "").slice(0, 999).replace(/[\s\ue000-\uf8ff]+/g, " ").trim();

const said = (el: Element, name: string) => fold(attr(el, name));

const BLOCK = /^(d[dltiv]|h[\dre]|p$|pre|li|t[dhr]|br|[uo]l|section|article|f[io]|nav|main)/;

/** What a style sheet puts before or after a text: of `"★" / "star"` the latter. */
const added = (el: Element, pseudo: string) =>
  /".*/.exec(getComputedStyle(el, pseudo).content.split(" / ").pop()!)?.[0].replace(/" "|"/g, "") || "";

/**
 * Visible text with the names of images and labelled children. Within a limit of nodes style sheets are not asked: that is
 * for texts of which the gist is wanted. A root that is not shown is a label by reference: then nothing in it has to be.
 */
export const textOf = (root: Element, limit?: number): string => {
  let out = "";
  let left = limit || 200;
  const shown = !limit && root.checkVisibility?.({ visibilityProperty: true }) !== false;
  const walk = (el: Element) => {
    const style = limit ? undefined : getComputedStyle(el);
    if (--left < 0 || out.length > 600 || (el !== root && (skips(el) || (shown && style!.display === "none")))) return;
    const label = el !== root && attr(el, "aria-label");
    const space = BLOCK.test(el.localName) || (style && /^[^i]|e-/.test(style.display)) ? " " : "";
    out += space;
    if (label) out += label;
    else if (el.localName === "img") out += ` ${attr(el, "alt")} `;
    else if (el.localName === "svg") out += el.querySelector("title")?.textContent || "";
    else if (limit || !el.matches("article,figure")) {
      // After that many nodes it is no longer a label; around a field a style sheet may repeat what is typed, to give it its size.
      const small = style && left > 150 && !el.getElementsByTagName("*")[200] && !el.querySelector("input," + EDITED);
      if (small) out += added(el, "::before");
      for (const child of (el.shadowRoot || el).childNodes) {
        if (child.nodeType === 1) walk(child as Element);
        else if (child.nodeType === 3 && (!shown || style!.visibility === "visible")) out += child.nodeValue;
      }
      if (small) out += added(el, "::after");
    }
    out += space;
  };
  walk(root);
  return fold(out);
};

const byIds = (el: Element, attribute: string) => {
  const root = el.getRootNode() as Document;
  return fold(
    attr(el, attribute)
      .split(/\s+/)
      .map((id) => {
        const found = id && root.getElementById ? root.getElementById(id) : null;
        return found && mayRead(found) ? said(found, "aria-label") || textOf(found) : "";
      })
      .join(" "),
  );
};

/** The name by aria-labelledby or aria-label. */
export const ariaName = (el: Element) => (byIds(el, "aria-labelledby") || said(el, "aria-label")).slice(0, 80);

/** Words of an identifier: `add_toCart-btn` → `add to cart btn`; nothing where a machine made it. */
export const words = (text: string) => {
  const split = fold(text.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/[-_.:/]+/g, " ")).toLowerCase();
  return /\d{3}|^[^aeiouy]*$/.test(split) ? "" : fold(split.replace(/\b\w*\d\w*\b/g, ""));
};

/** The last words of an address: `/img/trail-shoe.png` → `trail shoe`, `/shoes/4711` → `shoes`. */
export const slug = (address: string) => {
  const steps = address.split(/[?#]/)[0]!.split("/").reverse();
  return steps.map((step) => words(step.replace(/\.\w+$/, ""))).find((found) => found.length > 1) || "";
};

/** [label, source]. */
export const labelOf = (el: Element, role: string): [string, string] => {
  const tag = el.localName;
  const field = isField(el) || /^(input|select|textarea)$/.test(tag);
  const pressed = tag === "input" && /^(button|submit|reset|image)$/.test((el as HTMLInputElement).type);
  const labels = (el as HTMLInputElement).labels;
  const found: [string, string][] = [
    [byIds(el, "aria-labelledby"), "labelledby"],
    [said(el, "aria-label"), "aria-label"],
  ];
  const add = (text: string, source: string) => found.push([text, source]);
  if (labels) add(fold([...labels].filter(mayRead).map((label) => textOf(label)).join(" ")), "label");
  if (pressed) add(said(el, "value") || { submit: "Submit", reset: "Reset" }[(el as HTMLInputElement).type] || "", "value");
  add(said(el, "alt"), "alt");
  if (!field && !/^(form|video|audio|dialog|(radio)?group|listbox|menu|combobox)$/.test(role || tag)) add(textOf(el), "content");
  add(said(el, "title"), "title");
  // In a filled field it may say what was typed.
  if (el.matches(":placeholder-shown")) add(said(el, "placeholder"), "placeholder");
  const [text, source] = found.find(([label]) => label) || fallback(el);
  return [text.slice(0, LABEL), source];
};

const ICON = /\b(fa\w?|icons?|svg|glyphicon|material)\b/g;

/** The name of an icon in a sprite. */
export const iconOf = (use: Element) => (attr(use, "href") || attr(use, "xlink:href")).replace(/^.*#/, "");

const fallback = (el: Element): [string, string] => {
  const image = first([el], "img,use") || first([el], "svg,i") || el;
  const candidates = [
    said(image, "alt"),
    slug(attr(image, "src")),
    slug(image === el ? "" : iconOf(image).replace(ICON, "")),
    slug(attr(el, "href").replace(/^#|^(j\w+|(\w+)):(?!\/\/).*/s, "$2")),
    ...[attr(el, "data-testid"), attr(el, "id"), attr(el, "name"), ...(el.localName === "form" ? [] : [image, el].map((one) => classWords(one).join(" ")))].map((text) =>
      words(text.replace(ICON, "")),
    ),
  ];
  const found = candidates.find((candidate) => candidate.length > 1) || "";
  return [found && found[0]!.toUpperCase() + found.slice(1), "fallback"];
};
