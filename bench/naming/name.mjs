// `convizit name` over lines; and the small statistics that the metrics share.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const lines = (items) => items.map((item) => JSON.stringify(item)).join("\n") + "\n";

/** Answers for queries `{ id, page?, descriptor }`; with `known`, these are registered first and nothing is learned. */
export async function name(binary, queries, { known, rank = false } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "convizit-naming-"));
  try {
    const args = ["name"];
    if (known) {
      writeFileSync(path.join(folder, "known"), lines(known));
      args.push("--known", path.join(folder, "known"));
    }
    if (rank) args.push("--rank");
    const answers = await new Promise((done, failed) => {
      const child = execFile(binary, args, { maxBuffer: 1 << 30 }, (error, out, said) => (error ? failed(new Error(`convizit name: ${said || error.message}`)) : done(out)));
      // Where it ends early, its own message says why.
      child.stdin.on("error", () => {});
      child.stdin.end(lines(queries));
    });
    return answers.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Numbers that look random and are the same in each run (mulberry32). */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function shuffled(items, seed) {
  const next = random(seed);
  const out = [...items];
  for (let at = out.length - 1; at > 0; at--) {
    const other = Math.floor(next() * (at + 1));
    [out[at], out[other]] = [out[other], out[at]];
  }
  return out;
}

export const share = (part, whole) => (whole ? part / whole : 0);
export const fold = (text) => (text ?? "").replace(/\s+/g, " ").trim();
