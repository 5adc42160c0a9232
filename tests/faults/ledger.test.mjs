// The check itself can fail: an event that is lost, stored twice, changed on its way or never delivered is found.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compare, entry } from "./stand.mjs";

const line = (id, name = "Filled") => entry(JSON.stringify({ id, name }));
const whole = { ledger: ["a", "b"], stored: [line("a"), line("b"), line("refused, and yet there")], lines: [line("a"), line("b"), line("b")] };

test("what is whole passes, with what is more", () => {
  const { answered, stored, again } = compare(whole);
  assert.deepEqual([answered, stored, again], [2, 3, 1]);
});

for (const [what, change, expected] of [
  ["lost", { stored: [line("a")], lines: [line("a")] }, /1 of 2 answered events are lost/],
  ["stored twice", { stored: [...whole.stored, line("b")] }, /stored twice/],
  ["changed", { lines: [line("a"), line("b", "Emptied")] }, /has what the store has of b/],
  ["never delivered", { lines: [line("a")] }, /1 answered events never came/],
  ["answered twice", { ledger: ["a", "a"] }, /holds no id twice/],
]) {
  test(`an event that is ${what} is found`, () => {
    assert.throws(() => compare({ ...whole, ...change }), expected);
  });
}
