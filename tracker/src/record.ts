// The item's own texts and the options chosen around a control, as properties with human names.
import { settings } from "./config";
import { HEADING, nameOfContainer } from "./element";
import { fold, labelOf, textOf, words } from "./label";
import { attr, first, gate, inPrivateForm, mayRead, type Receipt } from "./privacy";
import { PRICE } from "./rules";

export type Properties = Record<string, string | number | boolean | null>;

const said = (el: Element | undefined) => (el ? fold(attr(el, "content")) || textOf(el, 60) : "");

/** Title, price and the like of a record; `record` says whether it is a repeated one. */
export const recordProperties = (scope: Element[], receipts: Receipt[]): Properties => {
  const out: Properties = {};
  const put = (key: string, value: string | number | undefined) => {
    if (typeof value === "string") value = gate(value.slice(0, 255), "properties." + key, receipts);
    if (value !== undefined && value !== "") out[key] = value;
  };
  let title = said(first(scope, "[itemprop=name]")) || said(first(scope, HEADING));
  if (!title) {
    for (const part of scope) {
      for (const link of [...part.querySelectorAll("a[href]")].slice(0, 20)) {
        const text = mayRead(link) ? textOf(link, 60) : "";
        if (text.length > title.length) title = text;
      }
    }
  }
  // A record of few words is its own title.
  title = title || attr(first(scope, "img[alt]") || scope[0]!, "alt") || textOf(first(scope, "td,th") || scope[0]!, 20).slice(0, 60);
  // As the page says them: the server makes a number and a code of them.
  let price = said(first(scope, "[itemprop=price]")) || attr(first(scope, "[data-price]") || scope[0]!, "data-price");
  let currency = said(first(scope, "[itemprop=priceCurrency]"));
  if (!price || !currency) {
    const struck = first(scope, "del,s,strike");
    const text = scope.map((part) => textOf(part, 150)).join(" ");
    const found = PRICE.exec(struck ? text.replace(textOf(struck, 20), " ") : text)?.[0];
    price = price || found || "";
    currency = currency || found || "";
  }
  put(price ? "Product name" : "Item name", title);
  put("Product price", +price || price);
  if (price) put("Currency", currency);
  put("Brand", said(first(scope, "[itemprop=brand]")));
  put("SKU", said(first(scope, "[itemprop=sku]")));
  return out;
};

/** What is chosen from. */
export const CHOICES = "select,[type=radio]:checked,[aria-checked=true],[aria-pressed=true],[aria-selected=true]";

/** The visible label of what is chosen in a select, radio or checkbox; never its value. */
export const optionOf = (el: Element): string => {
  if (!settings.optionLabels || inPrivateForm(el)) return "";
  if (el.localName === "select") {
    const chosen = (el as HTMLSelectElement).selectedOptions;
    return chosen.length === 1 && mayRead(chosen[0]!) ? fold(chosen[0]!.label) : "";
  }
  return labelOf(el, "")[0];
};

/** The name of the set that a radio or option belongs to. */
export const nameOfSet = (el: Element): string => {
  const set = el.closest("fieldset,[role=radiogroup],[role=group],[role=listbox]");
  return (set && nameOfContainer(set)) || words(attr(el, "name"));
};

/** What is chosen around a control: "Selected color" = "Red", "Quantity" = 2. */
export const chosenOptions = (scope: Element[], control: Element, receipts: Receipt[]): Properties => {
  const out: Properties = {};
  let count = 0;
  for (const part of scope) {
    for (const el of part.querySelectorAll(CHOICES)) {
      if (++count > 40 || Object.keys(out).length > 8) return out;
      if (el === control || !mayRead(el)) continue;
      const option = optionOf(el);
      const name = el.localName === "select" ? labelOf(el, "combobox")[0] : nameOfSet(el);
      if (!option || name.length > 40 || !gate(name, "properties", receipts)) continue;
      const key = new RegExp(settings.quantity, "i").test(name) ? "Quantity" : "Selected " + name.replace(/[:*]\s*$/, "");
      const text = gate(option.slice(0, 100), "properties." + key, receipts);
      if (text) out[key] = key === "Quantity" && /^\d{1,5}$/.test(text) ? Number(text) : text;
    }
  }
  return out;
};
