// The tracker's rules against the server's table: what the browser withholds the server withholds too, and what the vectors say
// that the browser has it has.
// TEXTS=1000000 for the full size.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { binary } from "./product.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const vectors = JSON.parse(readFileSync(path.join(root, "rules/vectors.json"), "utf8"));
const TEXTS = Number(process.env.TEXTS ?? 60_000);

const tracker = path.join(root, "tracker");
const languages = JSON.parse(readFileSync(path.join(tracker, "dist/more/words.json"), "utf8"));

/** The tracker's gate on a page in that language, core and second script; with their tables as they are or changed. */
async function gate(language = "en", change = {}) {
  const { build } = await import(path.join(tracker, "node_modules/esbuild/lib/main.js"));
  const { core, later } = await import(path.join(tracker, "rules.mjs"));
  const made = {
    rules: core(),
    later: later(),
    // The second script finds the core on its page.
    page: `import { learn } from "./src/privacy"; globalThis.document = { documentElement: { lang: "${language}" } }; globalThis.window = { convizit: { _bridge: { _learn: learn } } };`,
  };
  const tables = {
    name: "tables",
    setup(builder) {
      builder.onResolve({ filter: /\/(rules|later|page)$/ }, ({ path: given, importer }) =>
        importer.endsWith(".ts") || given.endsWith("page") ? { path: path.basename(given), namespace: "made" } : undefined,
      );
      builder.onLoad({ filter: /.*/, namespace: "made" }, ({ path: name }) => ({ contents: change[name]?.(made[name]) ?? made[name], loader: "ts", resolveDir: tracker }));
    },
  };
  const { outputFiles } = await build({
    stdin: { contents: `import "./page"; import "./more/rules"; export { ruleOf } from "./src/privacy";`, resolveDir: tracker, loader: "ts", sourcefile: "entry" },
    plugins: [tables],
    define: { WORDS: JSON.stringify(languages[language]) ?? "undefined" },
    bundle: true,
    format: "esm",
    target: "es2020",
    write: false,
  });
  return (await import(`data:text/javascript;base64,${Buffer.from(`${outputFiles[0].text}\n//${++gates}`).toString("base64")}`)).ruleOf;
}
let gates = 0;

/** What the server withholds of each text: its rules. */
function server(texts) {
  const input = texts.map((text, id) => JSON.stringify({ id, text })).join("\n") + "\n";
  const done = spawnSync(binary, ["scrub"], { input, encoding: "utf8", maxBuffer: 1 << 30 });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line).rules);
}

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

const words = JSON.parse(readFileSync(path.join(root, "rules/words.json"), "utf8"));
const known = Object.keys(languages);
const capital = (word) => word.slice(0, 1).toUpperCase() + word.slice(1);
const NAMES = "Anna Smith Jürgen O'Brien Мария Иванов Γιώργος 田中 花子 王伟 김민수 หญิง محمد نعمي अनीता İbrahim ǅenana anna McKay Jean-Luc Nguyễn ß World Guest".split(" ");
const MARKS = [" ", ", ", ": ", ":", " : ", ". ", "! ", "、", "-", " - ", "\u00a0", "(", '"', "،", "’s ", ""];
const kinds = Object.keys(words);
/** A text of that language's words and what may follow them. */
const worded = (language) => {
  const of = (kind) => one(words[kind][language] ?? words[kind].en ?? [""]);
  const word = () => [(text) => text, capital, (text) => text.toUpperCase()][below(3)](of(one(kinds)));
  const steps = [word, word, word, () => one(NAMES), () => one(NAMES), () => digits(4), () => digits(9), () => letters(6), () => one(parts)()];
  return many(5, () => one(steps)() + one(MARKS)).join("");
};

/** What each engine says of texts, each with the language of its page. */
async function compare(texts) {
  const engines = new Map();
  for (const [, language] of texts) if (!engines.has(language)) engines.set(language, await gate(language));
  let [withheld, more] = [0, 0];
  const disagreed = [];
  for (let done = 0; done < texts.length; done += 100_000) {
    const part = texts.slice(done, done + 100_000);
    server(part.map(([text]) => text)).forEach((rules, at) => {
      const [text, language] = part[at];
      const mine = engines.get(language)(text);
      withheld += !!mine;
      more += !mine && rules.length > 0;
      if (mine && !rules.length) disagreed.push(`${language} ${mine}: ${JSON.stringify(text)}`);
    });
  }
  console.log(`# ${texts.length} texts: ${withheld} withheld by both, ${more} by the server alone, ${disagreed.length} by the browser alone`);
  assert.deepEqual(disagreed.slice(0, 20), []);
}

test("the vectors hold on the server, with their rules", () => {
  const found = server(vectors.map(({ text }) => text));
  vectors.forEach(({ text, rule }, at) => assert.ok(rule ? found[at].includes(rule) : !found[at].length, `${text}: ${rule ?? "nothing"} expected, ${found[at].join() || "nothing"} found`));
});

/** Vectors that the browser gets wrong: `browser` says that it has them, in which language or in any. */
const wrong = async (change) => {
  const out = [];
  for (const language of new Set(vectors.map(({ browser }) => (typeof browser === "string" ? browser : "en")))) {
    const ruleOf = await gate(language, change);
    out.push(...vectors.filter(({ text, rule, browser }) => (browser === true || browser === language ? !ruleOf(text) : !rule && ruleOf(text))).map(({ text }) => `${language}: ${text}`));
  }
  return out;
};

test("the browser has the rules that the vectors say it has, and withholds nothing else", async () => {
  assert.deepEqual(await wrong(), []);
});

test("a rule that one engine lost is noticed", async () => {
  const lost = (id) => (source) => source.replaceAll(new RegExp(`\\["${id}", .*\\],\\n`, "g"), "");
  for (const id of ["email", "digits", "mixed_token", "secret"]) assert.ok((await wrong({ rules: lost(id), later: lost(id) })).length, `without ${id}`);
  for (const id of ["handle", "ip", "mac", "coords", "national_id", "person"]) assert.ok((await wrong({ later: lost(id) })).length, `without ${id}`);
  for (const list of ["name", "place", "address"]) {
    const kept = languages.en[list];
    languages.en[list] = list === "address" ? [] : "nobody says this";
    assert.ok((await wrong()).length, `without the words of ${list}`);
    languages.en[list] = kept;
  }
  const greedier = await wrong({ later: (source) => source.replace("= [\n", '= [\n  ["word", false, /cart/],\n') });
  assert.ok(greedier.length, "a rule that the server has not");
});

test(`what the browser withholds of ${TEXTS} texts the server withholds too`, async () => {
  await compare(Array.from({ length: TEXTS }, (_, at) => (at % 2 ? [text(), one(known)] : ((language) => [worded(language), language])(one(known)))));
});

// DATA=../shared/data/pii/dev.jsonl: texts as interfaces have them.
if (process.env.DATA) {
  test(`what the browser withholds of ${process.env.DATA} the server withholds too, in every language`, async () => {
    const texts = readFileSync(path.resolve(root, process.env.DATA), "utf8").trim().split("\n").map((line) => JSON.parse(line).text);
    for (const language of known) await compare(texts.map((text) => [text, language]));
  });
}
