// Prints the size of each tracker's script, and the script time it costs a page at its start and at each click, beside Convizit's.
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { chromium } from "playwright-core";
import { contenders, gzipped } from "./contenders.mjs";
import { serve } from "./stub.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 5);
const THROTTLE = 4;
const LIMIT = 10_240;
// Milliseconds: until the start is over; after the first click, so that its batch and its late timers fall into it; between clicks.
const [START, FIRST, PAUSE] = [1200, 1600, 30];
const FASTER_THAN = ["posthog-js", "mixpanel", "amplitude"];
const HOSTS = ["localhost", "127.0.0.1"];

const card = (at, part) => `#card-${at} ${part}`;
const FIRST_TARGET = card(36, ".add .text");
/** What a visitor clicks: 40 targets, none near the one before it in a way that looks like rage. */
const TARGETS = [
  ...[1, 4, 8, 11, 15, 18, 22, 25, 29, 33].map((at) => card(at, ".add .text")),
  ...[2, 6, 9, 13, 20, 24, 27, 31].map((at) => card(at, ".wish path")),
  ...[3, 7, 12, 16, 23, 30].map((at) => card(at, ".title")),
  ...[5, 10, 17, 26].map((at) => card(at, ".blue")),
  "#size-40", "#size-41", "#terrain-road", "#terrain-trail",
  "#nav-men span", "#nav-women span", "#nav-kids span", "#delivery",
  "#view-list span", "#view-grid span", "#cart svg", "#prose",
];

/** Events of the trace in which a thread runs script: compiling, running, callbacks with the microtasks after them. */
const SCRIPT = new Set(["EvaluateScript", "v8.compile", "v8.compileModule", "v8.evaluateModule", "v8.callFunction", "FunctionCall", "RunMicrotasks"]);

const now = () => Number(process.hrtime.bigint() / 1000n);
const sleep = (millis) => new Promise((done) => setTimeout(done, millis));

/** Linear congruential (Numerical Recipes): the same orders at each run. */
let seed = 7;
const shuffled = (list) => {
  const out = [...list];
  for (let at = out.length - 1; at > 0; at--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (at + 1);
    [out[at], out[other]] = [out[other], out[at]];
  }
  return out;
};

const quantile = (list, part) => {
  const sorted = [...list].sort((a, b) => a - b);
  const at = (sorted.length - 1) * part;
  const low = sorted[Math.floor(at)];
  return low + (sorted[Math.ceil(at)] - low) * (at % 1);
};
const median = (list) => quantile(list, 0.5);

/** [begin, milliseconds of the thread's own time] of each outermost script event of the page's main thread. */
function scripts(trace) {
  const mine = trace.find(({ name, args }) => name === "EvaluateScript" && args?.data?.url?.includes("/page/"));
  if (!mine) throw new Error("the trace has no script of the page");
  const slices = trace.filter(({ ph, pid, tid, name }) => ph === "X" && pid === mine.pid && tid === mine.tid && SCRIPT.has(name));
  slices.sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  const out = [];
  let end = 0;
  for (const { ts, dur, tdur } of slices) {
    if (ts < end) continue;
    end = ts + dur;
    // Time in which another process had the core does not count; what is too short for a second stamp has none.
    out.push([ts, (tdur ?? 0) / 1000]);
  }
  return out;
}

/** One visit: load, a first click alone, then the targets one after the other. Milliseconds of script in each part. */
async function visit(browser, stub, contender, targets) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 2200 },
    // Some trackers send nothing for a browser that says it is driven.
    userAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
  });
  await context.addInitScript(() => Object.defineProperty(navigator, "webdriver", { get: () => false }));
  const page = await context.newPage();
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (/^http/.test(protocol) && !HOSTS.includes(hostname)) throw new Error(`${contender.name} asks ${hostname}`);
  });
  page.on("pageerror", (error) => {
    throw new Error(`${contender.name}: ${error.message}`);
  });
  const tracing = await browser.newBrowserCDPSession();
  const trace = [];
  tracing.on("Tracing.dataCollected", ({ value }) => trace.push(...value));
  const devtools = await context.newCDPSession(page);
  await devtools.send("Emulation.setCPUThrottlingRate", { rate: THROTTLE });
  await tracing.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { excludedCategories: ["*"], includedCategories: ["devtools.timeline", "v8.execute"] } });
  await page.goto(stub.address(contender));
  await sleep(contender.script ? START : 300);
  const places = await page.evaluate((selectors) => selectors.map((selector) => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  }), [FIRST_TARGET, ...targets]);
  // The trace has the machine's monotonic clock, as this process has.
  const begins = [now()];
  await page.mouse.click(...places[0]);
  await sleep(contender.script ? FIRST : 100);
  for (const place of places.slice(1)) {
    begins.push(now());
    await page.mouse.click(...place);
    await sleep(PAUSE);
  }
  const ended = new Promise((done) => tracing.once("Tracing.tracingComplete", done));
  await tracing.send("Tracing.end");
  await ended;
  // What waits is sent when the page goes.
  await page.goto("about:blank");
  await sleep(150);
  await context.close();
  await tracing.detach();
  const parts = new Array(begins.length + 1).fill(0);
  for (const [ts, millis] of scripts(trace)) {
    const next = begins.findIndex((begin) => begin > ts);
    parts[next < 0 ? begins.length : next] += millis;
  }
  const [start, first, ...clicks] = parts;
  return { start, first, clicks: Object.fromEntries(targets.map((target, at) => [target, clicks[at]])), ...stub.take() };
}

function table(head, rows) {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => String(row[at]).length)));
  for (const row of [head, ...rows]) console.log(row.map((cell, at) => (at ? String(cell).padStart(widths[at]) : String(cell).padEnd(widths[at]))).join("  "));
}

const all = await contenders();
const trackers = all.filter(({ script }) => script);
const none = all.find(({ script }) => !script);
const chrome = process.env.CHROMIUM ?? "/usr/bin/chromium";

const sizes = trackers.flatMap(({ name, version, files, script, sizes }) =>
  Object.entries(sizes ?? { [`${name} ${version}`]: files[script] }).map(([label, text]) => [label, Buffer.byteLength(text), gzipped(text)]),
);
const [, , own] = sizes[0];
console.log("Size of the script (bytes)");
table(["", "minified", "gzip -9", "ratio"], sizes.map(([label, bytes, gzip]) => [label, bytes, gzip, (gzip / own).toFixed(2)]));

const stub = await serve(all);
const browser = await chromium.launch({
  executablePath: chrome,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", `--host-resolver-rules=MAP * ~NOTFOUND,${HOSTS.map((host) => `EXCLUDE ${host}`).join(",")}`],
});
const visits = new Map(all.map(({ name }) => [name, []]));
try {
  // The first visit of a browser pays for what no tracker is guilty of.
  await visit(browser, stub, none, TARGETS.slice(0, 3));
  for (let round = 0; round < ROUNDS; round++) {
    const targets = shuffled(TARGETS);
    for (const contender of shuffled(all)) visits.get(contender.name).push(await visit(browser, stub, contender, targets));
  }
} finally {
  await browser.close();
  await stub.stop();
}

const bare = visits.get(none.name);
const bareStart = median(bare.map(({ start }) => start));
const bareFirst = median(bare.map(({ first }) => first));
const bareClick = Object.fromEntries(TARGETS.map((target) => [target, median(bare.map(({ clicks }) => clicks[target]))]));
const figures = new Map(
  trackers.map(({ name }) => {
    const of = visits.get(name);
    const clicks = of.flatMap(({ clicks }) => TARGETS.map((target) => clicks[target] - bareClick[target]));
    return [name, {
      start: of.map(({ start }) => start - bareStart),
      first: of.map(({ first }) => first - bareFirst),
      clicks,
      mean: clicks.reduce((sum, millis) => sum + millis, 0) / clicks.length,
      events: median(of.map(({ events }) => events)),
      bytes: median(of.map(({ bytes }) => bytes)),
      cut: median(of.map(({ cut }) => cut)),
    }];
  }),
);
const mine = figures.get("convizit");
const ratio = (value, of) => (value / of).toFixed(2);

const load = execFileSync("uptime", { encoding: "utf8" }).trim().replace(/^.*load/, "load");
console.log(`\nScript time of the main thread (ms, CPU slowed ${THROTTLE} times, the page without a tracker subtracted)`);
console.log(`${ROUNDS} rounds in turn, ${TARGETS.length} clicks each; ${cpus().length} cores, ${load}; ${execFileSync(chrome, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()}`);
table(
  ["", "click median", "ratio", "click p95", "ratio", "click mean", "ratio", "first click", "ratio", "start median", "ratio", "start p95"],
  [...figures].map(([name, { start, first, clicks, mean }]) => [
    name,
    median(clicks).toFixed(2), ratio(median(clicks), median(mine.clicks)),
    quantile(clicks, 0.95).toFixed(2), ratio(quantile(clicks, 0.95), quantile(mine.clicks, 0.95)),
    mean.toFixed(2), ratio(mean, mine.mean),
    median(first).toFixed(1), ratio(median(first), median(mine.first)),
    median(start).toFixed(1), ratio(median(start), median(mine.start)),
    quantile(start, 0.95).toFixed(1),
  ]),
);
console.log(`the page alone: click median ${median(bare.flatMap(({ clicks }) => Object.values(clicks))).toFixed(2)}, first click ${bareFirst.toFixed(1)}, start ${bareStart.toFixed(1)}`);
console.log("\nWhat arrived of a visit (median)");
table(["", "events", "bytes"], [...figures].map(([name, { events, bytes }]) => [name, events, bytes]));
console.log(`convizit cut ${mine.cut} of its descriptions short: its bound of time had passed`);

let failed = false;
const figure = (holds, text) => {
  console.log(`${holds ? "holds" : "FAILS"}: ${text}`);
  failed ||= !holds;
};
console.log("");
figure(own <= LIMIT, `convizit.js ${own} bytes of ${LIMIT}`);
for (const name of FASTER_THAN) figure(median(mine.clicks) < median(figures.get(name).clicks), `median click below ${name}`);
// A tracker that sent next to nothing would make a fast figure.
for (const [name, { events }] of figures) figure(events >= (name === "snowplow" ? 25 : TARGETS.length), `${name} sent its clicks (${events} events)`);
process.exit(failed ? 1 : 0);
