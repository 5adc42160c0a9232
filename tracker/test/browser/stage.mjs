// The stage of a browser test: a site with one page per behaviour, a collector that records, one Chromium for the whole run.
// A test is one call: `behaviour("what happens", { page, do, expect })`; what is not expected makes it fail.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { settingsFor } from "../settings.mjs";
import { load } from "../unit/sources.mjs";

const { nativeRole, priced } = await load();

const root = path.resolve(import.meta.dirname, "../..");
const dist = (name) => readFileSync(path.join(root, "dist", name), "utf8");
const languages = JSON.parse(dist("more/words.json"));
const pages = path.join(root, "test/pages");

/** What the collector publishes for a new project. */
export const settingsOf = (key, changed = {}) => ({ ...settingsFor(key), ...changed });

/** Waits until `check` gives something. */
export async function until(what, check, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** One project at the collector: its settings, its orders, what it received. */
class Project {
  /** Every POST to /v1/collect: {status, batch, text, at}. */
  posts = [];
  /** Answers to come, one for each POST: a status, {status, retryAfter}, "never" or "reset"; then 204. */
  answers = [];
  /** What the customizer asked: {what, body}; and the answers to its drafts that come before 200. */
  customizer = [];
  refusals = [];
  /** "open", "blocked" (the connection is cut) or "late" (no answer before `release`). */
  more = "open";
  asked = { more: 0, settings: 0 };
  held = [];

  constructor(key, changed) {
    this.key = key;
    this.settings = settingsOf(key, changed);
  }

  /** Batches that were taken. */
  get batches() {
    return this.posts.filter((post) => post.status === 204).map((post) => post.batch);
  }

  /** Events that were taken, each with its batch; an id that came before is a repeat, as at the collector. */
  get events() {
    const seen = new Set();
    const out = [];
    for (const batch of this.batches) {
      for (const event of batch.events) {
        if (!seen.has(event.id)) out.push({ ...event, batch });
        seen.add(event.id);
      }
    }
    return out;
  }

  release() {
    this.held.splice(0).forEach((answer) => answer());
  }
}

const projects = new Map();
let made = 0;

const listen = (server) => new Promise((done) => server.listen(0, "127.0.0.1", () => done(server.address().port)));

const collector = createServer((request, response) => {
  const { pathname, search } = new URL(request.url, "http://collector");
  const key = /^\/t\/([^/.]+)/.exec(pathname)?.[1];
  const project = projects.get(key);
  const say = (status, type, body) => {
    response.writeHead(status, { "Content-Type": type, "Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache", ...(project && { "Convizit-Settings": project.settings.version }) });
    response.end(body);
  };
  if (pathname === "/v1/collect") return collect(request, response);
  if (pathname.startsWith("/v1/customizer/")) return customizer(pathname.split("/").pop(), request, response);
  if (!project) return say(404, "text/plain", "");
  if (pathname.endsWith("/more.js")) {
    project.asked.more++;
    if (project.more === "blocked") return request.socket.destroy();
    const answer = () => say(200, "text/javascript; charset=utf-8", dist("more.js") + dist("more/rules.js").replace("WORDS", () => JSON.stringify(languages[search.slice(1).split("-")[0].toLowerCase()])));
    return project.more === "late" ? void project.held.push(answer) : answer();
  }
  if (pathname.endsWith("/overlay.js")) {
    project.asked.overlay = (project.asked.overlay ?? 0) + 1;
    return say(200, "text/javascript; charset=utf-8", dist("overlay.js"));
  }
  if (pathname.endsWith(".json")) {
    project.asked.settings++;
    return say(200, "application/json", JSON.stringify(project.settings));
  }
  say(200, "text/javascript; charset=utf-8", scriptOf(project));
});

/** The tracker joined with the project's settings: crates/collector/src/script.rs, `build`. */
export const scriptOf = (project) => `window.convizitSettings=${JSON.stringify(project.settings).replaceAll("<", "\\u003c")};\n${dist("convizit.js")}`;

/** crates/collector/src/customizer.rs, with names that are the labels; the token ends with the project's key. */
function customizer(what, request, response) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    const project = projects.get(body.token.split(".").pop());
    const say = (status, answer) => response.writeHead(status, { "Content-Type": "application/json", "Access-Control-Allow-Origin": request.headers.origin }).end(JSON.stringify(answer));
    project.customizer.push({ what, body, cookie: request.headers.cookie });
    if (what === "open") return say(200, { project: "shop", expires: new Date(Date.now() + 900_000).toISOString(), drafts: [] });
    if (what === "draft") {
      const refusal = project.refusals.shift();
      if (refusal) return say(refusal.status, refusal);
      return say(200, { draft: { subject: body.change.name ?? body.change.group ?? body.change.element, version: project.customizer.length, change: body.change, own: true, by: null } });
    }
    const id = (kind, text) => `${kind}_${Buffer.from(text).toString("hex").padEnd(16, "0").slice(0, 16)}`;
    say(200, {
      controls: body.events.map(({ descriptor: { label, group, properties }, withheld }) => ({
        text: label, name: id("na", label), state: "published", element: id("el", label), captured: true, properties, withheld,
        group: group && { id: id("gr", group.member), name: "Product card", position: group.position, length: group.length, captured: true },
      })),
    });
  });
}

function collect(request, response) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const text = Buffer.concat(chunks).toString("utf8");
    const batch = JSON.parse(text);
    const project = projects.get(batch.key);
    if (!project) return response.writeHead(403).end();
    let order = project.answers.shift() ?? 204;
    if (typeof order !== "object") order = { status: order };
    const post = { status: order.status, batch, text, type: request.headers["content-type"], cookie: request.headers.cookie, at: Date.now(), problems: problemsOf(batch, text) };
    project.posts.push(post);
    if (order.status === "reset") return request.socket.destroy();
    const answer = () => {
      response.writeHead(order.status === "never" ? 204 : order.status, {
        "Access-Control-Allow-Origin": request.headers.origin ?? "*",
        "Access-Control-Expose-Headers": "Convizit-Settings, Retry-After",
        "Convizit-Settings": project.settings.version,
        ...(order.retryAfter && { "Retry-After": order.retryAfter }),
      });
      response.end();
    };
    if (order.status === "never") project.held.push(answer);
    else answer();
  });
}

/** The collector's own bounds (crates/pipeline/src/decode.rs): a batch that breaks one is refused, and its events are lost. */
function problemsOf(batch, text) {
  const out = [];
  const check = (holds, what) => holds || out.push(what);
  const short = (value, most, what) => check(value === undefined || [...String(value)].length <= most, `${what}: over ${most} characters`);
  const properties = (given = {}, what) => {
    check(Object.keys(given).length <= 50, `${what}: over 50`);
    for (const [key, value] of Object.entries(given)) {
      check(key.length > 0, `${what}: empty key`);
      short(key, 255, `${what} key`);
      check(value === null || ["string", "number", "boolean"].includes(typeof value), `${what}.${key}: ${typeof value}`);
      if (typeof value === "string") short(value, 255, `${what}.${key}`);
    }
  };
  check(Buffer.byteLength(text) <= 32 * 1024, "body over 32 KiB");
  check(batch.v === 1, "v");
  check(/^[\w.:-]{1,128}$/.test(batch.batch), "batch id");
  check(!Number.isNaN(Date.parse(batch.sent)), "sent");
  for (const id of [batch.visitor, batch.session?.id]) check(id === undefined || /^[\w.:-]{1,128}$/.test(id), "visitor or session id");
  short(batch.user, 128, "user");
  check(batch.events.length >= 1 && batch.events.length <= 100, "1 to 100 events");
  for (const [name, most] of [["url", 2048], ["title", 255], ["language", 64], ["referrer", 2048], ["type", 255], ["canonical", 2048]]) short(batch.page[name], most, `page.${name}`);
  properties(batch.page.product, "page.product");
  check((batch.page.breadcrumb ?? []).length <= 12, "page.breadcrumb");
  for (const event of batch.events) {
    check(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/.test(event.id), `id ${event.id}`);
    check(settingsFor("").events.includes(event.type), `type ${event.type}`);
    check(!Number.isNaN(Date.parse(event.time)), "time");
    short(event.name, 255, "name");
    properties(event.properties, "properties");
    const found = event.descriptor;
    if (!found) continue;
    for (const [name, most] of [["role", 40], ["label", 120], ["labelSource", 40], ["tag", 80], ["path", 1024]]) short(found[name], most, `descriptor.${name}`);
    check(found.context.length <= 6, "descriptor.context");
    for (const { kind, name } of found.context) short(kind, 40, "context kind"), short(name, 120, "context name");
    for (const group of [found.group, found.outer]) {
      if (!group) continue;
      check(group.signature.length <= 64, "signature");
      short(group.container, 120, "container"), short(group.member, 120, "member"), short(group.path, 1024, "group path");
    }
    properties(found.properties, "descriptor.properties");
    properties(found.attributes, "descriptor.attributes");
  }
  return out;
}

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".txt": "text/plain", ".webm": "video/webm", ".pdf": "application/pdf" };

/** The site: the host's name says the project, so that each test has origins, cookies and storage of its own. */
const site = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://site");
  // What loads slowly.
  await new Promise((done) => setTimeout(done, Number(searchParams.get("wait"))));
  const key = request.headers.host.split(":")[0].split(".").at(-2);
  const found = pathname === "/film.webm" ? path.join(root, "../demo/lacing.webm") : path.join(pages, path.basename(pathname));
  if (!path.extname(found) || !existsSync(found)) return response.writeHead(404).end();
  const headers = { "Content-Type": types[path.extname(found)] ?? "application/octet-stream", "Cache-Control": "no-cache" };
  if (searchParams.has("csp")) headers["Content-Security-Policy"] = searchParams.get("csp").replaceAll("COLLECTOR", origins.collector);
  response.writeHead(200, headers);
  if (!headers["Content-Type"].startsWith("text/html")) return response.end(readFileSync(found));
  response.end(
    readFileSync(found, "utf8")
      .replaceAll("<!-- convizit -->", dist("snippet.html").replace("{{origin}}", origins.collector).replace("{{key}}", key))
      .replaceAll("{{collector}}", origins.collector)
      .replaceAll("{{key}}", key)
      .replaceAll("{{elsewhere}}", `http://127.0.0.1:${site.address().port}`),
  );
});

export const origins = {};
let browser;

before(async () => {
  origins.collector = `http://127.0.0.1:${await listen(collector)}`;
  origins.port = await listen(site);
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  assert.ok(executablePath, "Chromium is missing: run ./test, which installs it");
  browser = await chromium.launch({
    executablePath,
    // Playwright turns the back/forward cache off; one of the behaviours is what happens in it.
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--host-resolver-rules=MAP *.test 127.0.0.1"],
  });
});

after(async () => {
  await browser?.close();
  for (const server of [collector, site]) {
    server.closeAllConnections();
    server.close();
  }
});

/** What a test works with. */
class Visit {
  constructor(project, context, options) {
    this.project = project;
    this.context = context;
    this.host = (options.host ?? "KEY.localhost").replace("KEY", project.key);
    /** Errors and convizit's warnings that the page saw. */
    this.errors = [];
    this.warnings = [];
    /** POSTs that left the page, answered or not. */
    this.sent = 0;
    context.on("request", (request) => {
      if (request.url().endsWith("/v1/collect")) this.sent++;
    });
  }

  url(name) {
    return `http://${this.host}:${origins.port}/${name}`;
  }

  async open(name = "plain.html", { wait = true } = {}) {
    if (!this.page) {
      this.page = await this.context.newPage();
      this.page.on("pageerror", (error) => this.errors.push(String(error)));
      this.page.on("console", (message) => message.text().startsWith("convizit: ") && this.warnings.push(message.text()));
    }
    await this.page.goto(this.url(name), { waitUntil: "load" });
    if (wait) await this.page.waitForFunction(() => window.convizit?._);
    return this.page;
  }

  /** The second script is there and has run. */
  withMore() {
    return this.page.waitForFunction(() => window.moreLoaded);
  }

  /** Another page at the top of the history: the one before is hidden, and what it sends is on its way. */
  async leave(name = "inner.html") {
    await this.page.goto(this.url(name), { waitUntil: "load" });
  }

  /** The browser's window is covered or shown again. */
  async visible(value, page = this.page) {
    await page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
      Object.defineProperty(document, "hidden", { configurable: true, get: () => state === "hidden" });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }, value ? "visible" : "hidden");
  }

  /** After this, everything that was captured has been answered: events keep their order. */
  async settled(page = this.page) {
    const mark = `end ${++made}`;
    await page.evaluate((name) => (window.convizit.track(name), window.convizit.flush()), mark);
    await until(`the batch with "${mark}"`, () => this.project.events.some((event) => event.name === mark));
  }

  /** For pages that must send nothing: what was going to leave has left when a later request is answered. */
  async silent(page = this.page) {
    await page.evaluate(async (address) => {
      window.convizit.flush();
      // A task of the browser's own: the page's clock may stand still.
      await new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
      window.convizit.flush();
      await fetch(address);
    }, `${origins.collector}/t/${this.project.key}.json`);
  }

  /** What was taken, but for the marks of `settled` and the types to ignore. */
  got(ignore = []) {
    return this.project.events.filter((event) => !/^end \d+$/.test(event.name ?? "") && !ignore.includes(event.type));
  }
}

/** Whether everything that is expected is there; more may be. A RegExp matches a text, `undefined` means that the key is missing. */
function holds(actual, expected, at) {
  if (expected instanceof RegExp) return assert.match(String(actual), expected, at);
  if (typeof expected === "function") return assert.ok(expected(actual), `${at}: ${JSON.stringify(actual)}`);
  if (expected === null || typeof expected !== "object") return assert.deepEqual(actual, expected, at);
  if (Array.isArray(expected)) {
    assert.equal(actual?.length, expected.length, `${at}: ${JSON.stringify(actual)}`);
    return expected.forEach((entry, index) => holds(actual[index], entry, `${at}[${index}]`));
  }
  assert.ok(actual && typeof actual === "object", `${at}: ${JSON.stringify(actual)}`);
  for (const [key, value] of Object.entries(expected)) holds(actual[key], value, `${at}.${key}`);
}

/** What says most of an event, for messages and expectations: label and role of its control beside it. */
const flat = (event) => {
  const found = event.descriptor;
  if (!found) return event;
  // As the server completes it.
  const descriptor = { ...found, role: found.role || nativeRole(found.tag), properties: priced(found.properties) };
  return { ...event, descriptor, label: found.label, role: descriptor.role };
};
const short = (event) => `${event.type} ${JSON.stringify(event.label ?? event.name ?? "")} ${JSON.stringify({ ...event.descriptor?.properties, ...event.properties })}`;

const QUIET = ["page_view", "page_leave", "web_vital"];

/**
 * A behaviour: open the page, act, compare.
 * - `page`: the file in test/pages; false when the action opens it
 * - `settings`, `context` (Playwright's), `host`, `answers`, `more`: the stage
 * - `clock`: true where the test may let time pass, "paused" where nothing else may
 * - `ticking`: `performance.now` moves; elsewhere it stands still, so that a busy machine does not cut a description short
 * - `before(visit)`: before the page is opened; `do(visit)`: the action
 * - `expect`: the events to come, in order, each by what matters of it; or a function of them
 * - `ignore`: types that do not matter here (`page_view`, `page_leave` and `web_vital` unless it says otherwise)
 * - `friction`: dead clicks matter; `refused`: the collector's bounds do not
 * - `silent`: nothing at all may be sent
 */
export function behaviour(what, { page = "plain.html", settings, context = {}, host, answers, more, clock = false, ticking = false, errors = [], warnings = [], before: prepare, do: act = () => {}, expect = [], ignore = QUIET, friction = false, refused = false, silent = false, settle = true, then }) {
  test(what, { timeout: 90_000 }, async () => {
    const project = new Project(`s${++made}x`, settings);
    projects.set(project.key, project);
    project.answers = [...(answers ?? [])];
    project.more = more ?? "open";
    const opened = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...context });
    opened.setDefaultTimeout(30_000);
    // A page of 100 000 nodes takes its time on a busy machine; only the tracker's own time is judged.
    opened.setDefaultNavigationTimeout(60_000);
    await opened.addInitScript(() => document.addEventListener("load", (event) => { if (/\/more\.js/.test(event.target.src)) window.moreLoaded = true; }, true));
    if (!ticking) await opened.addInitScript(() => { performance.now = () => 0; });
    const visit = new Visit(project, opened, { host });
    try {
      if (clock) await opened.clock.install();
      // Time then stands still but for what the test lets pass.
      if (clock === "paused") await opened.clock.pauseAt(Date.now() + 60_000);
      await prepare?.(visit);
      if (page) await visit.open(page);
      await act(visit);
      if (silent) {
        await visit.silent();
        assert.equal(visit.sent, 0, `sent: ${JSON.stringify(project.posts.map((post) => post.batch.events.map((event) => event.type)))}`);
      } else {
        if (settle) await visit.settled();
        // On a slow machine what a click changes may come late, and it counts as dead.
        const got = visit.got(friction ? ignore : [...ignore, "dead_click"]).map(flat);
        if (typeof expect === "function") await expect(got, visit);
        else {
          assert.deepEqual(got.map((event) => event.type), expect.map((event) => event.type), `got ${got.map(short).join(" · ")}`);
          expect.forEach((event, index) => holds(got[index], event, `event ${index}`));
        }
      }
      await then?.(visit);
      if (!refused) assert.deepEqual(project.posts.flatMap((post) => post.problems), [], "the collector would refuse a batch");
      if (errors) holds(visit.errors, errors, "errors of the page");
      if (warnings) holds(visit.warnings, warnings, "warnings");
    } finally {
      project.release();
      await opened.close();
    }
  });
}

export { assert, holds };
