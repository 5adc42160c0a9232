// The page's own data: schema.org as JSON-LD, then microdata, then OpenGraph; canonical address, breadcrumb, viewport.
import { fold, textOf } from "./label";
import { cleanUrl } from "./page";
import { gate, mayRead, type Receipt } from "./privacy";
import type { Properties } from "./record";

type Json = Record<string, unknown>;

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]);
const text = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? fold(String(value)) : "");
const nameOf = (value: unknown): string => text(value) || (value && typeof value === "object" ? text((value as Json).name) : "");

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

const meta = (name: string) =>
  fold(document.querySelector(`meta[property="${name}"],meta[name="${name}"]`)?.getAttribute("content"));

const micro = (name: string): string => {
  const product = document.querySelector("[itemtype$='/Product']");
  const el = product?.querySelector(`[itemprop=${name}]`);
  return el && mayRead(el) ? fold(el.getAttribute("content") || el.getAttribute("href")) || textOf(el, 60) : "";
};

const typeOf = (item: Json) => list(item["@type"]).map(text);

export const richPage = (receipts: Receipt[] = []): Record<string, unknown> => {
  const items = linked();
  const product = items.find((item) => typeOf(item).some((type) => /^(Product|ProductGroup|Vehicle|Book)$/.test(type)));
  const offer = list(product?.offers).flatMap((entry) => [entry as Json, ...list((entry as Json)?.offers)]).find((entry) => entry && typeof entry === "object") as Json | undefined;
  const values: [string, string][] = [
    ["Product name", text(product?.name) || micro("name")],
    ["Product price", text(offer?.price) || text(offer?.lowPrice) || micro("price") || meta("product:price:amount") || meta("og:price:amount")],
    ["Currency", text(offer?.priceCurrency) || micro("priceCurrency") || meta("product:price:currency") || meta("og:price:currency")],
    ["SKU", text(product?.sku) || micro("sku") || meta("product:retailer_item_id")],
    ["Availability", (text(offer?.availability) || micro("availability") || meta("product:availability") || meta("og:availability")).split("/").pop()!],
    ["Brand", nameOf(product?.brand) || micro("brand") || meta("product:brand") || meta("og:brand")],
  ];
  const found: Properties = {};
  for (const [key, value] of values) {
    const safe = key === "SKU" ? value.slice(0, 60) : gate(value.slice(0, 255), "page.product", receipts);
    if (safe) found[key] = (key === "Product price" && +safe) || safe;
  }
  const og = meta("og:type");
  const isProduct = !!product || !!document.querySelector("[itemtype$='/Product']") || /product/.test(og);
  if (isProduct && !found["Product name"]) {
    const title = gate(meta("og:title").slice(0, 255), "page.product", receipts);
    if (title) found["Product name"] = title;
  }
  // A page that lists products is not one product's page.
  const one = isProduct && (!!product || document.querySelectorAll("[itemtype$='/Product']").length < 2);
  const kind = one ? "Product" : items.flatMap(typeOf).find((type) => /Page$|Article|Posting|Recipe|Event|Course/.test(type)) || (og === "website" ? "" : og);
  const crumbs = items.find((item) => typeOf(item).includes("BreadcrumbList"));
  const canonical = document.querySelector("link[rel=canonical]")?.getAttribute("href");
  const out: Record<string, unknown> = { viewport: { width: innerWidth, height: innerHeight } };
  if (kind) out.type = gate(kind.slice(0, 60), "page.type", receipts);
  if (one && Object.keys(found).length) out.product = found;
  if (canonical) out.canonical = cleanUrl(canonical);
  if (crumbs) out.breadcrumb = list(crumbs.itemListElement).map((entry) => gate((nameOf(entry) || nameOf((entry as Json)?.item)).slice(0, 100), "page.breadcrumb", receipts)).filter(Boolean).slice(0, 10);
  return out;
};
