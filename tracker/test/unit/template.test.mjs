// A label without its numbers: names and keys are made from it.
import assert from "node:assert/strict";
import test from "node:test";
import { load } from "./sources.mjs";

const { templateOf } = await load();

for (const [label, template, value] of [
  ["Cart (3)", "Cart", 3],
  ["Cart [12]", "Cart", 12],
  ["Add to cart", "Add to cart", undefined],
  ["Buy for $89.90", "Buy for", 89.9],
  ["Buy for 89,90 €", "Buy for", 89.9],
  ["2 of 12 results", "of results", undefined],
  ["-20 % today", "today", 20],
  ["Step 2: Payment", "Step Payment", 2],
  ["12:30", "", undefined],
  ["", "", undefined],
]) {
  test(`the template of ${JSON.stringify(label)}`, () => assert.deepEqual(templateOf(label), [template, value]));
}
