// The page's own data: schema.org as JSON-LD, then microdata, then OpenGraph, then what it shows; canonical address, breadcrumb, viewport.
import type { fold } from "./label";
import type { cleanUrl } from "./page";
import type { gate, mayRead, Receipt, skips } from "./privacy";
import type { Properties } from "./record";
import type { PRICE } from "./rules";
import { shownOf, textWith } from "./shown";

/** What the core has: the second script need not carry it again. */
export interface Reader {
  _fold: typeof fold;
  _gate: typeof gate;
  _mayRead: typeof mayRead;
  _skips: typeof skips;
  _price: typeof PRICE;
  _cleanUrl: typeof cleanUrl;
}

type Json = Record<string, unknown>;

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]);

/** Every object of the page's JSON-LD, at most 200. */
const linked = (): Json[] => {
  const out: Json[] = [];
  const walk = (value: unknown) => {
    for (const item of list(value)) {
      if (!item || typeof item !== "object" || out.length > 200) continue;
      out.push(item as Json);
      walk((item as Json)["@graph"]);
      walk((item as Json).mainEntity);
    }
  };
  for (const script of [...document.querySelectorAll("script[type='application/ld+json']")].slice(0, 20)) {
    try {
      walk(JSON.parse(script.textContent || ""));
    } catch {
      /* malformed on many pages */
    }
  }
  return out;
};

export const richPage = (core: Reader, receipts: Receipt[] = []): Record<string, unknown> => {
  const fold = core._fold;
  const gate = (text: string, most: number, field: string) => core._gate(text.slice(0, most), "page." + field, receipts);
  const text = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? fold(String(value)) : "");
  const nameOf = (value: unknown): string => text(value) || (value && typeof value === "object" ? text((value as Json).name) : "");
  const typeOf = (item: Json) => list(item["@type"]).map(text);
  const metas = [...document.querySelectorAll("meta[content]")];
  const meta = (name: string) => fold(metas.find((el) => [el.getAttribute("property"), el.getAttribute("name")].includes(name))?.getAttribute("content"));
  const offered = (name: string) => meta("product:" + name) || meta("og:" + name);
  const marked = document.querySelectorAll("[itemtype$='/Product']");
  const textOf = textWith(core);
  const micro = (name: string) => {
    const el = marked[0]?.querySelector(`[itemprop=${name}]`);
    return el && core._mayRead(el) ? fold(el.getAttribute("content") || el.getAttribute("href")) || textOf(el) : "";
  };
  const items = linked();
  const product = items.find((item) => typeOf(item).some((type) => /^(Product|ProductGroup|Vehicle|Book)$/i.test(type)));
  const offers = list(product?.offers).flatMap((entry) => [entry, ...list((entry as Json)?.offers)]).filter((entry) => entry && typeof entry === "object") as Json[];
  // One size may be sold out while the others are there.
  const offer = offers.find((entry) => /InStock/.test(text(entry.availability))) || offers[0];
  const cost = (list(offer?.priceSpecification)[0] || offer) as Json | undefined;
  const canonical = document.querySelector("link[rel=canonical]")?.getAttribute("href");
  const address = (canonical || meta("og:url") || location.pathname).replace(/^\w+:\/\/[^/]*|[?#].*/g, "");
  const og = meta("og:type");
  // A page that lists products is not one product's page.
  const own = !!product || /product/.test(og) || marked.length === 1;
  const shown = shownOf(core, textOf, address, own);
  const found: Properties = {};
  const put = (key: string, value: string) => {
    // Numbers of goods are long: only what else they may hold is looked at here.
    const safe = key === "SKU" ? gate(value.replace(/\d+/g, "1"), 255, "product") && value.slice(0, 60) : gate(value, 255, "product");
    if (safe) found[key] = (key === "Product price" && +safe) || safe;
  };
  put("Product name", nameOf(product) || micro("name"));
  put("Product price", text(offer?.price) || text(offer?.lowPrice) || text(cost?.price) || micro("price") || meta("product:sale_price:amount") || offered("price:amount") || shown._price);
  put("Currency", text(offer?.priceCurrency) || text(cost?.priceCurrency) || micro("priceCurrency") || offered("price:currency"));
  // The number behind a label is the one that a person knows; the page's own data often has a variant's.
  put("SKU", shown._number || text(product?.sku) || micro("sku") || meta("product:retailer_item_id") || (address.match(/[A-Z]*\d[A-Z\d]{4,}/g) || []).pop() || "");
  put("Availability", (text(offer?.availability) || micro("availability") || offered("availability")).split("/").pop() || shown._stock);
  put("Brand", nameOf(product?.brand) || micro("brand") || offered("brand"));
  const other = items.flatMap(typeOf).find((type) => /Page$|Article|Posting|Recipe|Event|Course/.test(type)) || (og === "website" ? "" : og);
  const one = own || (shown._sold && !/art|post|rec|event|cour|coll|sear/i.test(other));
  if (one && !found["Product name"]) put("Product name", meta("og:title") || shown._name);
  const kind = one ? "Product" : other;
  const crumbs = items.find((item) => typeOf(item).includes("BreadcrumbList"));
  const out: Record<string, unknown> = { title: gate(fold(document.title), 200, "title"), viewport: { width: innerWidth, height: innerHeight } };
  if (kind) out.type = gate(kind, 60, "type");
  if (one && Object.keys(found).length) out.product = found;
  if (canonical) out.canonical = core._cleanUrl(canonical);
  if (crumbs) out.breadcrumb = list(crumbs.itemListElement).map((entry) => gate(nameOf(entry) || nameOf((entry as Json)?.item), 100, "breadcrumb")).filter(Boolean).slice(0, 10);
  return out;
};
