// The tracker's few rules against the server's table: what the browser withholds the server withholds too, and what the vectors
// say that the browser has it has.
// TEXTS=1000000 for the full size.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { binary } from "./product.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const vectors = JSON.parse(readFileSync(path.join(root, "rules/vectors.json"), "utf8"));
const TEXTS = Number(process.env.TEXTS ?? 60_000);

/** The tracker's gate, as it is or with its source changed. */
async function gate(change = (source) => source) {
  const { build } = await import(path.join(root, "tracker/node_modules/esbuild/lib/main.js"));
  const source = path.join(root, "tracker/src/privacy.ts");
  const { outputFiles } = await build({
    stdin: { contents: change(readFileSync(source, "utf8")), resolveDir: path.dirname(source), loader: "ts" },
    bundle: true,
    format: "esm",
    target: "es2020",
    write: false,
  });
  return (await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`)).ruleOf;
}

/** What the server withholds of each text: its rules. */
function server(texts) {
  const input = texts.map((text, id) => JSON.stringify({ id, text })).join("\n") + "\n";
  const done = spawnSync(binary, ["scrub"], { input, encoding: "utf8", maxBuffer: 1 << 30 });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line).rules);
}

/** Vectors that an engine gets wrong. */
const wrong = (verdict, mine) => vectors.filter(mine).filter(({ text, rule }, at) => !!verdict(text, at) !== !!rule);

/** mulberry32: the same texts in each run. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const next = random(20261128);
const below = (most) => Math.floor(next() * most);
const one = (list) => list[below(list.length)];
const many = (most, make) => Array.from({ length: 1 + below(most) }, make);
const digits = (most) => many(most, () => below(10)).join("");
const letters = (most, of = "abcdefghijklmnopqrstuvwxyz") => many(most, () => one(of)).join("");
const MIXED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
const WORDS = "Add to cart Size chart Save 20 % Page of reviews Welcome back Order no. Tel. Call from until Version v in stock € $ kr GB cm Straße rue Ring 路 号 様 คุณ Привет مرحبا नमस्ते".split(" ");
const SEPARATORS = [" ", "-", ".", "/", ", ", ": ", " (", ") ", "\u00a0", "\u202f", " – ", "–", "@", "_", "", "\u200b", "'"];
const parts = [
  () => digits(5), () => digits(12), () => one(WORDS), () => one(WORDS), () => letters(9), () => letters(24, MIXED), () => one(SEPARATORS),
  () => many(6, () => digits(4)).join(one(SEPARATORS)), () => `${letters(6)}@${letters(6)}.${letters(3)}`, () => `${one("€$£")}${digits(4)}.${digits(2)}`,
  () => `${1 + below(31)}${one("-./")}${1 + below(12)}${one("-./")}${1990 + below(60)}`, () => `${below(24)}:${10 + below(49)}`,
  () => many(4, () => below(256)).join("."), () => [...digits(9)].map((digit) => String.fromCharCode(0x660 + Number(digit))).join(""),
  () => [...letters(5) + digits(3)].map((c) => String.fromCharCode(c.charCodeAt(0) + 0xfee0)).join(""), () => encodeURIComponent(`${letters(4)}@${letters(5)}.com ${digits(4)}`),
  () => encodeURIComponent(encodeURIComponent(`${letters(3)}@${letters(3)}.org`)), () => `&#${32 + below(90)};`, () => String.fromCodePoint(one([below(0x2fff), 0x1f600 + below(80), 0xd800 - 1 - below(999)])),
];
const text = () => many(5, () => one(parts)()).join(one(SEPARATORS));

let ruleOf;
before(async () => {
  ruleOf = await gate();
});

test("the vectors hold on the server, with their rules", () => {
  const found = server(vectors.map(({ text }) => text));
  vectors.forEach(({ text, rule }, at) => assert.ok(rule ? found[at].includes(rule) : !found[at].length, `${text}: ${rule ?? "nothing"} expected, ${found[at].join() || "nothing"} found`));
});

test("the browser has the rules that the vectors say it has, and withholds nothing else", () => {
  assert.deepEqual(wrong(ruleOf, ({ browser, rule }) => browser || !rule), []);
});

test("a rule that one engine lost is noticed", async () => {
  for (const id of ["email", "ip", "digits", "mixed_token", "secret"]) {
    const poorer = await gate((source) => source.replace(new RegExp(`\\["${id}", .*\\],\\n`), ""));
    assert.ok(wrong(poorer, ({ browser }) => browser).length, `without ${id}`);
  }
  const greedier = await gate((source) => source.replace('["email", ', '["word", /cart/],\n  ["email", ').replace("if (!/[\\d@]/.test(plain)) return;", ""));
  assert.ok(wrong(greedier, ({ rule }) => !rule).length, "a rule that the server has not");
});

test(`what the browser withholds of ${TEXTS} texts the server withholds too`, () => {
  let [withheld, more] = [0, 0];
  const disagreed = [];
  for (let done = 0; done < TEXTS; done += 100_000) {
    const texts = Array.from({ length: Math.min(100_000, TEXTS - done) }, text);
    server(texts).forEach((rules, at) => {
      const mine = ruleOf(texts[at]);
      withheld += !!mine;
      more += !mine && rules.length > 0;
      if (mine && !rules.length) disagreed.push(`${mine}: ${JSON.stringify(texts[at])}`);
    });
  }
  console.log(`# ${TEXTS} texts: ${withheld} withheld by both, ${more} by the server alone, ${disagreed.length} by the browser alone`);
  assert.deepEqual(disagreed.slice(0, 20), []);
});
