// M8: price, sku and availability of product pages.
import { readFileSync } from "node:fs";
import path from "node:path";
import { bytes } from "./data.mjs";
import { share } from "./name.mjs";

const ATTRIBUTES = { price: ["Product price", 0.85, ".685"], sku: ["SKU", 0.7, ".537"], availability: ["Availability", 0.8, ".626"], brand: ["Brand"], currency: ["Currency"] };

const same = { price: (a, b) => Number(a) === Number(String(b).replace(/,/g, "")) };

export async function m8({ root, browser, each, fails, quick }) {
  const truth = JSON.parse(readFileSync(path.join(root, "product-extraction/ground-truth.json"), "utf8"));
  const list = Object.keys(truth).sort().map((id) => ({ id })).filter((_, at) => !quick || at % 8 === 0);
  const total = Object.fromEntries(Object.keys(ATTRIBUTES).map((key) => [key, { right: 0, wrong: 0, missing: 0 }]));
  await each("M8", list, ({ id }) => browser.on(bytes(path.join(root, `product-extraction/html/${id}.html.gz`)), (page) => page.evaluate(() => convizitPage())), ({ id }, found) => {
    for (const [key, [property]] of Object.entries(ATTRIBUTES)) {
      const accepted = truth[id][key] ?? [];
      const said = found.product?.[property];
      const has = accepted.length > 0;
      const right = said !== undefined && accepted.some((value) => (same[key] ?? ((a, b) => String(a) === String(b)))(said, value));
      const of = total[key];
      if (right) of.right++;
      else {
        if (said !== undefined) of.wrong++;
        if (has) of.missing++;
        if (said !== undefined || has) fails(`M8 ${key}`, { page: id, html: "", expected: accepted.join(" or "), got: String(said) });
      }
    }
  });
  return Object.entries(ATTRIBUTES).filter(([, [, goal]]) => goal).map(([key, [, goal, baseline]]) => {
    const { right, wrong, missing } = total[key];
    const [precision, recall] = [share(right, right + wrong), share(right, right + missing)];
    console.log(`  ${key.padEnd(13)} P ${precision.toFixed(3)} R ${recall.toFixed(3)}`);
    return { metric: `M8 ${key} F1`, value: share(2 * precision * recall, precision + recall), count: list.length, baseline, goal };
  });
}
