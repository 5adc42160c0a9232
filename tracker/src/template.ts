// The label without its numbers: the server makes it of the label, describe.js shows it, so the tracker does not carry it.
import { fold } from "./label";

const NUMBER = /[([{]?\s*(?:[$€£¥₹]\s?)?[+-]?\d[\d.,:'\u00a0\u202f/]*\s?(?:[$€£¥₹%]|\b(?:usd|eur|gbp|chf)\b)?\s*[)\]}]?/gi;

/** The label without numbers, and the one number it had: "Cart (3)" → ["Cart", 3]. */
export const templateOf = (label: string): [string, number | string | undefined] => {
  const numbers = label.match(NUMBER);
  if (!numbers) return [label, undefined];
  // A time or a fraction is no number of anything.
  const bare = numbers.length === 1 && !/[:/]\d/.test(numbers[0]!) ? numbers[0]!.replace(/[^\d.,]/g, "") : "";
  const value = /^\d+([.,]\d{1,2})?$/.test(bare) ? Number(bare.replace(",", ".")) : undefined;
  return [fold(label.replace(NUMBER, " ")).replace(/^[\s,.:;–-]+|[\s,:;–-]+$/g, ""), value];
};
