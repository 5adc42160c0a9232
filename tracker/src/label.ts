// The accessible name in a few bytes: a subset of W3C accname 1.2, then fallbacks for controls that have none.
import { attr, isField, mayRead, skips } from "./privacy";

const LABEL = 120;

export const fold = (text: string | null | undefined) => (text || "").replace(/\s+/g, " ").trim();

const said = (el: Element, name: string) => fold(attr(el, name));

const BLOCK = /^(d[dltiv]|h[\dre]|p$|pre|li|t[dhr]|br|[uo]l|section|article|f[io]|nav|main)/;

/** Visible text with the names of images and labelled children; at most `limit` nodes are looked at. */
export const textOf = (root: Element, limit = 200): string => {
  let out = "";
  const walk = (node: Node) => {
    if (--limit < 0 || out.length > 600) return;
    if (node.nodeType === 3) out += node.nodeValue;
    else if (node.nodeType === 1) {
      const el = node as Element;
      if (el !== root && skips(el)) return;
      const label = el !== root && attr(el, "aria-label");
      const space = BLOCK.test(el.localName) ? " " : "";
      out += space;
      if (label) out += label;
      else if (el.localName === "img") out += ` ${attr(el, "alt")} `;
      else if (el.localName === "svg") out += el.querySelector("title")?.textContent || "";
      else for (const child of (el.shadowRoot || el).childNodes) walk(child);
      out += space;
    }
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

/** The last word of an address: `/img/trail-shoe.png` → `trail shoe`. */
export const slug = (address: string) => {
  const last = address.split(/[?#]/)[0]!.split("/").filter(Boolean).pop() || "";
  return words(last.replace(/\.\w+$/, ""));
};

/** [label, source]. */
export const labelOf = (el: Element, role: string): [string, string] => {
  const tag = el.localName;
  const type = attr(el, "type").toLowerCase();
  const field = isField(el) || /^(input|select|textarea)$/.test(tag);
  const pressed = tag === "input" && /^(button|submit|reset|image)$/.test(type);
  const labels = (el as HTMLInputElement).labels;
  const found: [string, string][] = [
    [byIds(el, "aria-labelledby"), "labelledby"],
    [said(el, "aria-label"), "aria-label"],
  ];
  const add = (text: string, source: string) => found.push([text, source]);
  if (labels) add(fold([...labels].filter(mayRead).map((label) => textOf(label)).join(" ")), "label");
  if (pressed) add(said(el, "value") || { submit: "Submit", reset: "Reset" }[type] || "", "value");
  add(said(el, "alt"), "alt");
  if (!field && !/^(form|video|audio|dialog|group|listbox|menu|radiogroup|combobox)$/.test(role || tag)) add(textOf(el), "content");
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
  const image = el.querySelector("img,use") || el.querySelector("svg,i") || el;
  const candidates = [
    said(image, "alt"),
    slug(attr(image, "src")),
    slug(iconOf(image).replace(ICON, "")),
    slug(attr(el, "href")),
    ...[attr(el, "data-testid"), attr(el, "id"), attr(el, "name"), el.localName === "form" ? "" : attr(image, "class")].map((text) =>
      words(text.replace(ICON, "")),
    ),
  ];
  const text = candidates.find((candidate) => candidate.length > 1) || "";
  return [text && text[0]!.toUpperCase() + text.slice(1), "fallback"];
};
