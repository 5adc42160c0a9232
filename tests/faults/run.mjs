// Runs the parts of the fault harness: `npm run --prefix tests faults [-- --full] [--seed N] [--only kill,disk] [--cycles N] [--cuts N] [--flips N] …`.
import { spawn } from "node:child_process";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { temporaryFolder } from "../e2e/product.mjs";

const env = { ...process.env };
let only = null;
for (const [index, word] of process.argv.entries()) {
  const value = process.argv[index + 1];
  if (word === "--full") env.FAULTS_SIZE = "full";
  else if (word === "--only") only = value.split(",");
  else if (word.startsWith("--")) env[`FAULTS_${word.slice(2).toUpperCase()}`] = value;
}
env.FAULTS_SEED ??= String(Date.now() % 1_000_000);
const folder = temporaryFolder("faults");
env.FAULTS_LINES = path.join(folder, "lines");

// The longest first; two beside each other, since most wait more than they compute.
const order = ["damage", "kill", "syscalls", "clock", "disk", "destinations", "connections", "power"];
const there = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".test.mjs")).map((name) => name.slice(0, -".test.mjs".length));
const parts = only ?? [...order, ...there.filter((name) => !order.includes(name))];

/** Runs a part, prints what it said when it has ended, and gives whether it passed. */
async function run(part) {
  const started = performance.now();
  const child = spawn(process.execPath, ["--test", "--test-reporter=spec", path.join(import.meta.dirname, `${part}.test.mjs`)], { env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { said += text; });
  const code = await new Promise((done) => child.once("close", done));
  console.log(`\n=== ${part}: ${code === 0 ? "passed" : "FAILED"} after ${((performance.now() - started) / 1000).toFixed(0)} s\n${said}`);
  return code === 0;
}

console.log(`seed ${env.FAULTS_SEED}${env.FAULTS_SIZE === "full" ? ", full size" : ""}`);
const began = performance.now();
const waiting = [...parts];
let passed = true;
await Promise.all([1, 2].map(async () => {
  for (let part; (part = waiting.shift());) passed = (await run(part)) && passed;
}));
let lines = "";
try { lines = readFileSync(env.FAULTS_LINES, "utf8"); } catch { /* No part came to its end. */ }
rmSync(folder, { recursive: true, force: true });
console.log(`\n${lines}seed ${env.FAULTS_SEED}, ${((performance.now() - began) / 1000).toFixed(0)} s in all`);
process.exit(passed ? 0 : 1);
