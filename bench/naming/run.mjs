// Measures naming on the data sets: M1 to M9 of the metrics that README.md explains. Started by ./run, which builds first.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Browser } from "./browser.mjs";
import { open } from "./data.mjs";
import { m9 } from "./cost.mjs";
import { m2, m2b } from "./groups.mjs";
import { m3, m4, m5 } from "./identity.mjs";
import { m1, m1b } from "./labels.mjs";
import { m6 } from "./mutations.mjs";
import { m7 } from "./names.mjs";
import { m8 } from "./properties.mjs";

const here = import.meta.dirname;
const repository = path.resolve(here, "../..");
const { values } = parseArgs({
  options: {
    data: { type: "string", default: path.resolve(repository, "../shared/data") },
    metric: { type: "string", multiple: true },
    quick: { type: "boolean", default: false },
    fresh: { type: "boolean", default: false },
    out: { type: "string", default: path.join(repository, "target/naming") },
    binary: { type: "string", default: path.join(repository, "target/release/convizit") },
  },
});
const given = existsSync(path.join(values.data, "naming")) ? path.join(values.data, "naming") : values.data;
if (!existsSync(given)) {
  console.error(`${given} is not there: give the folder of the data sets with --data`);
  process.exit(2);
}
mkdirSync(values.out, { recursive: true });
const root = open(given, values.out);
const all = { M1: m1, M1b: m1b, M2: m2, M2b: m2b, M3: m3, M4: m4, M5: m5, M6: m6, M7: m7, M8: m8, M9: m9 };
const wanted = values.metric?.flatMap((names) => names.split(",")) ?? Object.keys(all);
for (const metric of wanted) {
  if (!all[metric]) {
    console.error(`there is no metric ${metric}: ${Object.keys(all).join(", ")}`);
    process.exit(2);
  }
}

const describe = readFileSync(path.join(repository, "tracker/dist/describe.js"), "utf8");
const hash = (...parts) => parts.reduce((sum, part) => sum.update(part), createHash("sha256")).digest("hex").slice(0, 16);
const code = hash(describe, readFileSync(values.binary), ...readdirSync(here).filter((name) => name.endsWith(".mjs")).sort().map((name) => readFileSync(path.join(here, name))));
const cache = path.join(values.out, "pages", code);
mkdirSync(cache, { recursive: true });

const TABS = Math.max(2, Math.min(4, availableParallelism()));
const failures = [];
const fails = (kind, failure) => failures.push({ kind, ...failure });

/**
 * Does `work` for each item, several at once but `alone`, and gives what it found to `take` in order, drawing a bar; what a
 * stopped run has done for the same code and item is read again.
 */
async function each(metric, items, work, take, { fresh = values.fresh, alone = false } = {}) {
  const start = Date.now();
  const does = async (item) => {
    const file = path.join(cache, `${hash(metric, root, item.id)}.json`);
    if (!fresh && existsSync(file)) return JSON.parse(readFileSync(file, "utf8"));
    try {
      const found = await work(item);
      writeFileSync(file, JSON.stringify(found));
      return found;
    } catch (error) {
      throw new Error(`${metric}, ${item.id}: ${error.message}`, { cause: error });
    }
  };
  const ahead = [];
  for (const [at, item] of items.entries()) {
    while (ahead.length < (alone ? 1 : 2 * TABS) && at + ahead.length < items.length) {
      const found = does(items[at + ahead.length]);
      // It is told when its turn comes.
      found.catch(() => {});
      ahead.push(found);
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${metric} ${"█".repeat(Math.round((30 * at) / items.length)).padEnd(30, "░")} ${at}/${items.length}`);
    await take(item, await ahead.shift());
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  console.log(`${metric}: ${items.length} pages, ${((Date.now() - start) / 1000).toFixed(0)} s`);
}

const browser = await Browser.start(describe, TABS);
const rows = [];
try {
  for (const metric of wanted) rows.push(...(await all[metric]({ root, browser, each, fails, binary: values.binary, quick: values.quick })));
} finally {
  await browser.end();
}

const percent = ({ value, plain }) => (plain ? (value >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(2)) : (100 * value).toFixed(2) + " %");
const reached = ({ value, goal, most }) => (goal === undefined ? "" : (most ? value <= goal : value >= goal) ? "yes" : "no");
const table = [["metric", "measured", "count", "baseline", "goal", "reached"], ...rows.map((row) => [row.metric, percent(row), String(row.count), row.baseline, row.goal === undefined ? "" : (row.most ? "≤ " : "≥ ") + (row.plain ? row.goal.toLocaleString("en") : `${+(100 * row.goal).toFixed(1)} %`), reached(row)])];
const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
console.log();
table.forEach((row, at) => {
  console.log(`| ${row.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`);
  if (at === 0) console.log(`| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
});

const escape = (text) => String(text ?? "").replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const kinds = [...new Set(failures.map(({ kind }) => kind))];
const shown = kinds.map((kind) => {
  const of = failures.filter((failure) => failure.kind === kind);
  return `<h2>${escape(kind)} (${of.length})</h2>${of.slice(0, 500).map(({ page, html, expected, got, note }) => `<details><summary>${escape(page)}: ${escape(got).slice(0, 120)}</summary><dl><dt>of<dd><code>${escape(html)}</code><dt>expected<dd>${escape(expected)}<dt>got<dd>${escape(got)}${note ? `<dt>note<dd>${escape(note)}` : ""}</dl></details>`).join("\n")}`;
});
const report = path.join(values.out, "failures.html");
writeFileSync(report, `<!doctype html><meta charset="utf-8"><title>Naming: failing cases</title><style>body{font:14px system-ui;max-width:70rem;margin:2rem auto}code{overflow-wrap:anywhere}dt{color:#666}</style><h1>Failing cases</h1>${shown.join("\n")}`);
writeFileSync(path.join(values.out, "failures.json"), JSON.stringify(failures));
console.log(`\n${failures.length} failing cases: ${report}`);
