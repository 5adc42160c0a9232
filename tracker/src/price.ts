// Prices as numbers, currencies and availability as codes: the server makes them of what the page says; describe.js shows them, so the tracker does not carry this.
import type { Properties } from "./record";
import words from "./words.json";

const CURRENCY: Record<string, string> = { $: "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR" };

/** "1.299,00" and "1,299.00" → 1299: a separator before three digits groups, another one begins the cents, and so does a blank before the last two. */
export const amount = (text: string): number | undefined => {
  const first = /\d+(?:[.,'’ \u00a0\u202f]\d+)*/.exec(text.replace(/(\d)[ \u00a0\u202f](?!\d{3}(?!\d))/, (_, digit, at: number) => (/^\d\d(?!\d)/.test(text.slice(at + 2)) && !/[.,]/.test(text.slice(0, at)) ? digit + "." : digit + "|")))?.[0] || "";
  const value = parseFloat(first.replace(/[^\d.,]/g, "").replace(/[.,](?=\d{3}(\D|$))/g, "").replace(",", "."));
  return isFinite(value) ? value : undefined;
};

/** A code of schema.org's ItemAvailability: `OutOfStock` for "Sold out", "out_of_stock" and the code itself; nothing where no known word says. */
export const availability = (text: string): string | undefined => {
  const plain = text.replace(/^https?:\/\/schema\.org\//, "").toLowerCase();
  const code = words.stockCodes.split("|").find((code) => code.toLowerCase() === plain.replace(/[_-]/g, ""));
  return code || (new RegExp(words.soldOut).test(plain) ? "OutOfStock" : new RegExp(words.inStock).test(plain) ? "InStock" : undefined);
};

/** Properties as the server completes them: the price a number, currency and availability codes or left out, "Selected Color" in small letters. */
export const priced = (properties: Properties): Properties => {
  const out: Properties = Object.fromEntries(Object.entries(properties).map(([key, value]) => [key.replace(/^(Selected )(.*)$/s, (_, head, name) => head + name.toLowerCase()), value]));
  const price = out["Product price"];
  if (typeof price === "string") {
    const value = amount(price);
    if (value === undefined) delete out["Product price"];
    else out["Product price"] = value;
  }
  const currency = out.Currency;
  if (typeof currency === "string") {
    const sign = currency.replace(/[\d\s.,']/g, "");
    out.Currency = CURRENCY[sign] || sign.toUpperCase();
  }
  if (typeof out.Availability === "string") {
    const code = availability(out.Availability);
    if (code) out.Availability = code;
    else delete out.Availability;
  }
  return out;
};
