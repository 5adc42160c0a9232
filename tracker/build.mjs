// Builds dist/, prints each size and its change, fails above the limits; --check compares with what is committed.
import { build } from "esbuild";
import { minify } from "terser";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { core, languages, later } from "./rules.mjs";

const here = import.meta.dirname;
const check = process.argv.includes("--check");
// Bytes after gzip -9 (the snippet: as it is): every byte is paid for by visitors.
const limits = { "convizit.js": 10_240, "more.js": 5_120, "more/rules.js": 2_252, "overlay.js": 20_480 };
const parts = ["page", "vitals", "friction", "consent", "customizer"];
/** The words of any one language, as they come with the second script. */
const WORDS = 1_024;

const bridge = { _bridge: "_", _emit: "A", _consent: "B", _page: "C", _onPage: "D", _on: "E", _fold: "F", _gate: "G", _mayRead: "H", _skips: "I", _price: "J", _cleanUrl: "K", _learn: "L" };

async function bundle(entry) {
  const { outputFiles } = await build({
    entryPoints: [path.join(here, entry)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: ["es2020"],
    charset: "utf8",
    // Nothing depends on the directive that TypeScript's `strict` asks for.
    tsconfigRaw: { compilerOptions: { alwaysStrict: false } },
    legalComments: "none",
    // Names that begin with _ are the tracker's own; those of the bridge between the two scripts are fixed.
    mangleProps: /^_[a-z]/,
    mangleCache: bridge,
  });
  // esbuild joins and mangles; terser finds another 3 % that visitors need not pay for.
  const { code } = await minify(outputFiles[0].text, {
    ecma: 2020,
    // The last two and the quotes only make the text more alike, which gzip rewards.
    compress: { passes: 3, unsafe_arrows: true, pure_getters: true, keep_fargs: false, hoist_funs: true, reduce_funcs: false, if_return: false, lhs_constants: false, comparisons: false },
    format: { quote_style: 1 },
  });
  return code + "\n";
}

const outputs = new Map([
  ["../src/rules.ts", core()],
  ["../src/later.ts", later()],
]);
for (const [name, text] of outputs) if (!check) writeFileSync(path.join(here, "dist", name), text);
outputs.set("convizit.js", await bundle("src/index.ts"));
outputs.set("describe.js", await bundle("src/describe-entry.ts"));
outputs.set("overlay.js", await bundle("overlay/index.ts"));
for (const part of [...parts, "rules"]) {
  // Whatever fails in what can wait is none of the page's business.
  outputs.set(`more/${part}.js`, `try{${(await bundle(`more/${part}.ts`)).trim()}}catch{}\n`);
}
outputs.set("more.js", parts.map((part) => outputs.get(`more/${part}.js`)).join(""));
outputs.set("more/words.json", JSON.stringify(languages(WORDS), null, 1) + "\n");
outputs.set("snippet.html", readFileSync(path.join(here, "src/snippet.html"), "utf8").trim());

let failed = false;
mkdirSync(path.join(here, "dist/more"), { recursive: true });
for (const [name, text] of outputs) {
  const file = path.join(here, "dist", name);
  const before = existsSync(file) ? readFileSync(file, "utf8") : "";
  const size = (content) => (name === "snippet.html" ? Buffer.byteLength(content) : gzipSync(content, { level: 9 }).length);
  const limit = name === "snippet.html" ? 400 : limits[name];
  const change = size(text) - (before ? size(before) : 0);
  console.log(`${name.padEnd(18)} ${String(size(text)).padStart(6)} bytes ${change >= 0 ? "+" : ""}${change}${limit ? ` of ${limit}` : ""}`);
  if (limit && size(text) > limit) {
    console.error(`${name} is ${size(text) - limit} bytes above its limit`);
    failed = true;
  }
  if (check && before !== text) {
    console.error(`dist/${name} is not what the sources build: run npm run build and commit dist/`);
    failed = true;
  } else if (!check && before !== text) {
    writeFileSync(file, text);
  }
}
process.exit(failed ? 1 : 0);
