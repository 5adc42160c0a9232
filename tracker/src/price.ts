// Prices as numbers and currencies as codes: the server makes them of what the page says; describe.js shows them, so the tracker does not carry this.
import type { Properties } from "./record";

const CURRENCY: Record<string, string> = { $: "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR" };

/** "1.299,00" and "1,299.00" → 1299: a separator before three digits groups, another one begins the cents. */
export const amount = (text: string): number | undefined => {
  const value = parseFloat(text.replace(/[^\d.,]/g, "").replace(/[.,](?=\d{3}(\D|$))/g, "").replace(",", "."));
  return isFinite(value) ? value : undefined;
};

/** Properties with the price as a number and the currency as a code; what is no price is left out. */
export const priced = (properties: Properties): Properties => {
  const out = { ...properties };
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
  return out;
};
