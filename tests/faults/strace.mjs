// Faults at exactly the Nth call of one kind on one file, put in by strace, and how many such calls a start with a little work makes.
import { spawnSync } from "node:child_process";
import { readFileSync, readlinkSync, rmSync } from "node:fs";
import path from "node:path";
import { pause } from "../e2e/site.mjs";
import { full } from "./plan.mjs";

/** The work of one step: so much moves the log of data.db into it. */
export const BATCHES = 40;

/** SQLite syncs with fsync, the file destination with fdatasync. strace counts for each thread: one file is mostly one thread's. */
export const TARGETS = [
  { call: "fsync", file: "journal.db-wal" },
  { call: "fsync", file: "journal.db" },
  { call: "fsync", file: "journal.mark.new" },
  { call: "fsync", file: "data.db-wal" },
  { call: "fsync", file: "data.db" },
  { call: "fdatasync", file: "lines.jsonl" },
  { call: "pwrite64", file: "journal.db-wal" },
  { call: "pwrite64", file: "journal.db" },
  { call: "pwrite64", file: "data.db-wal" },
  { call: "pwrite64", file: "data.db" },
];

/** The reason why this machine cannot run such a test, else false. */
export function noStrace() {
  const tried = spawnSync("strace", ["-f", "-e", "trace=getpid", "-o", "/dev/null", "true"], { encoding: "utf8" });
  if (tried.status === 0) return false;
  return `skipped: no call can be made to fail because strace ${tried.error ? "is not installed" : `does not run here (${tried.stderr.trim()})`}`;
}

const pathOf = (stand, file) => path.join(file === "lines.jsonl" ? stand.lines : stand.site.data, file);
const log = (stand) => path.join(stand.site.folder, "strace.log");

/** Starts the product so that its Nth call of a target fails; with `once` the fault ends a moment after it was met. */
export async function serveWith(stand, { call, file }, fault, { trace = call, files = [file], once = false } = {}) {
  rmSync(log(stand), { force: true });
  // A seccomp filter slows these calls only; but strace then sends no signal, and cannot let go of the process.
  const quick = fault ? [] : ["--seccomp-bpf"];
  const inject = fault ? ["-e", `inject=${call}:${fault}`] : [];
  const paths = files.flatMap((one) => ["-P", pathOf(stand, one)]);
  // The tracer is the grandchild, so that our child is the product; and it heeds signals.
  const running = await stand.serve({ wrap: ["strace", "-D", "-I2", "-f", "-y", ...quick, "-o", log(stand), ...paths, "-e", `trace=${trace}`, ...inject], ready: false });
  let tracer = 0;
  let met = Infinity;
  const look = setInterval(() => {
    try {
      tracer ||= Number(/TracerPid:\s*(\d+)/.exec(readFileSync(`/proc/${running.pid}/status`, "utf8"))[1]);
      if (once && met === Infinity && readFileSync(log(stand), "utf8").includes("(INJECTED)")) met = performance.now();
    } catch { return; /* It has ended, or writes no log yet. */ }
    // strace counts anew for every thread that the product starts after a failure. Told to end, it lets its process go.
    if (performance.now() - met > 50 && tracer) {
      clearInterval(look);
      process.kill(tracer, "SIGTERM");
    }
  }, 10);
  running.child.once("exit", async () => {
    clearInterval(look);
    // Now and then it stays behind its process, and keeps our end of standard error open.
    await pause(300);
    try { if (tracer && readlinkSync(`/proc/${tracer}/exe`).endsWith("/strace")) process.kill(tracer, "SIGKILL"); } catch { /* It is gone. */ }
  });
  return running;
}

/** The calls of the last run: thread, name, file and whether the fault was put in. */
export function traced(stand) {
  return readFileSync(log(stand), "utf8").split("\n")
    .map((line) => /^(\d+) +(\w+)\((\d+)<([^>]*)>.*?(= (-?\d+).*?)?$/.exec(line))
    .filter(Boolean)
    .map(([line, thread, call, descriptor, file, , result]) => ({ line, thread, call, descriptor, file: path.basename(file), result: Number(result), injected: line.includes("(INJECTED)") }));
}

/** How often a thread makes each target's call in a start with a little work. */
export async function occurrences(stand) {
  const files = [...new Set(TARGETS.map((target) => target.file))];
  const running = await serveWith(stand, {}, null, { trace: "fsync,fdatasync,pwrite64", files });
  await running.ready(stand.site.collector);
  for (let batch = 0; batch < BATCHES; batch++) await stand.take("while calls were counted");
  await pause(1000);
  await stand.running.stop("SIGKILL");
  await pause(100);
  const counts = new Map();
  for (const { thread, call, file } of traced(stand)) {
    const key = `${call} ${file}`;
    const threads = counts.get(key) ?? counts.set(key, new Map()).get(key);
    threads.set(thread, (threads.get(thread) ?? 0) + 1);
  }
  return new Map([...counts].map(([key, threads]) => [key, Math.max(...threads.values())]));
}

/** Which of a target's calls are made to fail: the first and random ones, in full size each until one is no longer reached. */
export function steps({ call, file }, calls, next, few) {
  const most = calls.get(`${call} ${file}`) ?? 1;
  if (full) return Array.from({ length: most + 1 }, (_, index) => index + 1);
  return [...new Set([1, ...Array.from({ length: few - 1 }, () => 1 + Math.floor(next() * most * 0.8))])];
}
