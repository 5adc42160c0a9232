// An installation of its own for a test: configuration, command line, `convizit serve`, and batches as a tracker sends them.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { createServer } from "node:net";
import path from "node:path";
import { binary, temporaryFolder, until } from "./product.mjs";

export const ORIGIN = "https://shop.example";
export const CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

export const pause = (millis) => new Promise((done) => setTimeout(done, millis));

/** A free port below those that connections leave from: while nobody listens on it, no connection of ours can take it. */
export async function lastingPort() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    const free = await new Promise((done) => server.once("error", () => done(false)).listen(port, "127.0.0.1", () => done(true)));
    if (!free) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
}

/** A folder with a `convizit.toml`; the command line and `serve` run in it. */
export class Site {
  /** `sections`: what the file says beside addresses, such as `{ journal: "megabytes = 16" }`; `""` is the head. */
  static async make({ sections = {}, origin = ORIGIN, project = "shop", env = {} } = {}) {
    const site = new Site();
    site.folder = temporaryFolder("site");
    site.data = path.join(site.folder, "data");
    site.env = env;
    site.port = await lastingPort();
    site.consolePort = await lastingPort();
    site.sections = sections;
    site.write();
    if (project) {
      const made = site.ok("project", "add", project, "--origin", origin, "--json");
      site.project = project;
      site.key = JSON.parse(made).project.key;
    }
    return site;
  }

  get collector() { return `http://127.0.0.1:${this.port}`; }
  get console() { return `http://127.0.0.1:${this.consolePort}`; }

  write(sections = this.sections) {
    this.sections = sections;
    // Visitors reach the collector by a name of the site's; without it doctor says what is amiss.
    const { "": head = "", collector = 'public = "https://events.shop.example"', console = "", ...others } = sections;
    writeFileSync(path.join(this.folder, "convizit.toml"), [
      `data = ${JSON.stringify(this.data)}`,
      head,
      `[collector]\nlisten = "127.0.0.1:${this.port}"\n${collector}`,
      `[console]\nlisten = "127.0.0.1:${this.consolePort}"\n${console}`,
      ...Object.entries(others).map(([name, text]) => `[${name}]\n${text}`),
    ].join("\n"));
  }

  environment(env = {}) {
    const { CONVIZIT_DATA, CONVIZIT_DATABASE_URL, ...rest } = process.env;
    return { ...rest, ...this.env, ...env };
  }

  /** The command line: exit code and both outputs. */
  run(args, { input = "", env } = {}) {
    const [file, ...rest] = [...this.wrap, binary, ...args];
    const done = spawnSync(file, rest, { cwd: this.folder, env: this.environment(env), input, encoding: "utf8", timeout: 30_000, maxBuffer: 1 << 28 });
    if (done.error) throw done.error;
    return { code: done.status, out: done.stdout, err: done.stderr };
  }

  /** The output of a command that must succeed. */
  ok(...args) {
    const { code, out, err } = this.run(args);
    if (code !== 0) throw new Error(`convizit ${args.join(" ")} ended with ${code}: ${err}${out}`);
    return out;
  }

  /** As `ok`, of a command that asks something of this process, which has to answer meanwhile. */
  async answered(...args) {
    const [file, ...rest] = [...this.wrap, binary, ...args];
    const child = spawn(file, rest, { cwd: this.folder, env: this.environment(), stdio: ["ignore", "pipe", "pipe"], timeout: 30_000 });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (part) => { out += part; });
    child.stderr.setEncoding("utf8").on("data", (part) => { err += part; });
    const code = await new Promise((done) => child.once("close", done));
    if (code !== 0) throw new Error(`convizit ${args.join(" ")} ended with ${code}: ${err}${out}`);
    return out;
  }

  /** The one sentence of a command that must fail. */
  fails(...args) {
    const { code, out, err } = this.run(args);
    if (code !== 1 || !/^error: .+\n$/.test(err)) throw new Error(`convizit ${args.join(" ")} should fail with one sentence, ended with ${code}: ${err}${out}`);
    return err;
  }

  /** `convizit serve`, ready when its health and its collector answer. `wrap` puts a program before it. */
  async serve({ role = "all", consolePort = this.consolePort, env, wrap = [], ready = true } = {}) {
    const args = ["serve", "--role", role, ...(consolePort === this.consolePort ? [] : ["--console", `127.0.0.1:${consolePort}`])];
    const [file, ...rest] = [...this.wrap, ...wrap, binary, ...args];
    const child = spawn(file, rest, { cwd: this.folder, env: this.environment(env), stdio: ["ignore", "ignore", "pipe"] });
    const running = new Running(child, consolePort);
    if (ready) await running.ready(["all", "collect"].includes(role) ? this.collector : null);
    return running;
  }

  batch(options) { return batch(this.key, options); }

  /** Posts a body to `/v1/collect`; an object is sent as JSON. */
  post(body, { origin = ORIGIN, headers = {}, method = "POST" } = {}) {
    const bytes = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
    return fetch(`${this.collector}/v1/collect`, {
      method,
      body: bytes,
      headers: { "content-type": "text/plain;charset=UTF-8", "user-agent": CHROME, ...(origin ? { origin } : {}), ...headers },
    });
  }

  /** What stands before every command, such as what enters a mount namespace. */
  wrap = [];
  visitors = [];

  remove() {
    for (const load of this.visitors) load.abandon();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A running `convizit serve`. */
export class Running {
  log = "";

  constructor(child, consolePort) {
    this.child = child;
    this.operator = `http://127.0.0.1:${consolePort}`;
    this.started = performance.now();
    child.stderr.setEncoding("utf8").on("data", (text) => { this.log += text; });
    this.ended = new Promise((done) => child.once("close", (code, signal) => done(code ?? signal)));
  }

  get pid() { return this.child.pid; }

  /** Waits for health and, with its address, for the collector; gives the milliseconds since the start. */
  async ready(collector) {
    const answers = (url, accept) => fetch(url).then((answer) => accept.includes(answer.status), () => false);
    for (;;) {
      if (this.child.exitCode !== null || this.child.signalCode) throw new Error(`convizit serve ended with ${await this.ended}: ${this.log}`);
      // Before it has a project's key, the collector's 404 is an answer.
      if (await answers(`${this.operator}/readyz`, [200, 503]) && (!collector || await answers(`${collector}/t/x.html`, [404]))) {
        return performance.now() - this.started;
      }
      if (performance.now() - this.started > 30_000) throw new Error(`convizit serve is not ready within 30 s: ${this.log}`);
      await pause(5);
    }
  }

  async health() {
    const answer = await fetch(`${this.operator}/healthz`);
    return { ...await answer.json(), status: answer.status };
  }

  /** Prometheus text as a map from `name{labels}` to value. */
  async metrics() {
    const text = await (await fetch(`${this.operator}/metrics`)).text();
    return new Map(text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }));
  }

  /** SIGTERM: gives the exit code. */
  stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.ended;
  }
}

/** A UUIDv7, as the tracker makes them. */
export function eventId(time = Date.now()) {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(time, 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const PRODUCTS = ["Trail shoe", "Rain jacket", "Wool hat", "Day pack", "Camp mug", "Head torch", "Sun cap", "Map case"];

/** A batch as a tracker sends it: one page, one visitor, so many clicks on cards of a product list. */
export function batch(key, { events = 1, visitor = randomBytes(8).toString("hex"), sequence = 1, page = {}, each = () => ({}) } = {}) {
  const now = new Date().toISOString();
  return {
    v: 1, key, batch: `${randomBytes(9).toString("hex")}.${sequence}`, sent: now, settings: 1,
    visitor, session: { id: `s-${visitor}`, start: now }, consent: {},
    page: { url: "https://shop.example/shoes", title: "Shoes", language: "en", type: "ItemList", ...page },
    events: Array.from({ length: events }, (_, index) => ({
      id: eventId(), type: "click", time: now,
      descriptor: {
        role: "button", label: "Add to cart", labelSource: "content", template: "Add to cart", tag: "button",
        context: [{ kind: "article", name: PRODUCTS[index % 8] }, { kind: "section", name: "All products" }, { kind: "main", name: "" }],
        group: { position: (index % 8) + 1, length: 8, signature: [11, 222, 3333], container: "All products", member: "card", path: "div>button" },
        properties: { "Product name": PRODUCTS[index % 8], "Product price": 10 + index, Currency: "EUR" },
        attributes: { class: "add-to-cart primary", type: "button" }, path: "main>ul>li>article>div>button",
      },
      ...each(index),
    })),
  };
}

/** Sends batches over one kept connection until told to stop; what is not answered 2xx is sent again with the same ids. */
export function visitor(site, { events = 10, gap = 0, retry = 20, ...each } = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const load = { answered: [], answers: [], batches: 0, retries: 0, statuses: new Map(), millis: [], maxAnswerMillis: 0 };
  let [stopping, abandoned] = [false, false];
  const send = (body) => new Promise((done) => {
    const began = performance.now();
    const request = httpRequest(`${site.collector}/v1/collect`, {
      method: "POST", agent, timeout: 10_000,
      headers: { "content-type": "text/plain", "user-agent": CHROME, origin: ORIGIN, "content-length": Buffer.byteLength(body) },
    }, (answer) => {
      answer.resume().once("end", () => {
        load.millis.push(performance.now() - began);
        load.maxAnswerMillis = Math.max(load.maxAnswerMillis, load.millis.at(-1));
        done(answer.statusCode);
      }).once("error", () => done(0));
    });
    request.once("error", () => done(0)).once("timeout", () => request.destroy()).end(body);
  });
  const running = (async () => {
    for (let sequence = 1; !stopping; sequence++) {
      const next = site.batch({ events, sequence, ...each });
      for (;;) {
        const sent = performance.now();
        const status = await send(JSON.stringify({ ...next, sent: new Date().toISOString() }));
        load.statuses.set(status, (load.statuses.get(status) ?? 0) + 1);
        if (status === 204) {
          for (const event of next.events) load.answered.push(event.id);
          load.answers.push({ sent, events: next.events });
          load.batches++;
          break;
        }
        if (status !== 0 && status !== 503 && status !== 429) throw new Error(`a good batch was answered ${status}`);
        if (abandoned) break;
        load.retries++;
        await pause(retry);
      }
      if (gap) await pause(gap);
    }
    agent.destroy();
  })();
  // An error is thrown by `stop`, not into the air.
  running.catch(() => {});
  site.visitors.push(load);
  return Object.assign(load, {
    /** Ends after the batch at hand is answered. */
    stop() { stopping = true; return running; },
    abandon() { stopping = abandoned = true; },
  });
}

/** Makes a folder inside the site. */
export function folder(site, name) {
  const full = path.join(site.folder, name);
  mkdirSync(full, { recursive: true });
  return full;
}

export { until };
