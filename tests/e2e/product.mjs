// Starts the product as a newcomer would, with a PostgreSQL and a browser of the test's own, and ends each by its process.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, existsSync, rmSync, chownSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

export const binary = process.env.CONVIZIT_BIN ?? path.resolve(import.meta.dirname, "../../target/ci/convizit");

export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Waits until `check` gives something, at most `seconds`. */
export async function until(what, check, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** The events of a file that the product writes: its whole lines, since the last may be on its way; none where there is no file yet. */
export function eventsIn(file) {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

export function temporaryFolder(name) {
  return mkdtempSync(path.join(tmpdir(), `convizit-${name}-`));
}

/** A PostgreSQL cluster of its own: initdb refuses to run as root, so root lends it to the `postgres` user. */
export async function startPostgres() {
  const bin = postgresBinaries();
  const folder = temporaryFolder("postgres");
  const root = userInfo().uid === 0;
  const as = (file, args) => (root ? ["runuser", ["-u", "postgres", "--", file, ...args]] : [file, args]);
  if (root) {
    const [uid, gid] = ["-u", "-g"].map((flag) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" })));
    chownSync(folder, uid, gid);
  }
  const data = path.join(folder, "data");
  execFileSync(...as(path.join(bin, "initdb"), ["-D", data, "-U", "convizit", "--auth=trust", "--no-sync", "-E", "UTF8"]), { stdio: "ignore", cwd: folder });
  const port = await freePort();
  const [file, args] = as(path.join(bin, "postgres"), ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", folder]);
  const child = spawn(file, args, { stdio: "ignore", cwd: folder });
  const url = `postgres://convizit@127.0.0.1:${port}/postgres`;
  const query = (sql) => execFileSync(path.join(bin, "psql"), [url, "-XAt", "-c", sql], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 28 }).trim();
  await until("PostgreSQL answers", () => {
    try { return query("select 1") === "1"; } catch { return false; }
  });
  return {
    url,
    query,
    async stop() {
      const pid = Number(readFileSync(path.join(data, "postmaster.pid"), "utf8").split("\n")[0]);
      process.kill(pid, "SIGINT");
      await new Promise((done) => child.once("exit", done));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function postgresBinaries() {
  const home = "/usr/lib/postgresql";
  const versions = existsSync(home) ? readdirSync(home).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions.map((version) => path.join(home, version, "bin")).find((bin) => existsSync(path.join(bin, "initdb")));
  if (!found) throw new Error("no PostgreSQL server found: run ./test, which installs it");
  return found;
}

/** `convizit demo` in a folder of its own; its standard output as lines, its addresses as it printed them. */
export async function startDemo(...args) {
  const folder = temporaryFolder("demo");
  const started = Date.now();
  const child = spawn(binary, ["demo", "--folder", path.join(folder, "data"), ...args], { cwd: folder });
  const lines = [];
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => {
    out += text;
    const whole = out.split("\n");
    out = whole.pop();
    lines.push(...whole);
  });
  child.stderr.setEncoding("utf8").on("data", (text) => { err += text; });
  const ended = new Promise((done) => child.once("exit", (code) => done(code)));
  const printed = () => lines.join("\n") + err;
  const address = (name) => new RegExp(`${name}\\s+(http://\\S+)`, "i").exec(printed())?.[1];
  await until("the demo prints its addresses", () => {
    if (child.exitCode !== null) throw new Error(`the demo ended with ${child.exitCode}: ${printed()}`);
    return address("shop") && address("collector") && address("console") && address("webhook");
  });
  return {
    folder,
    lines,
    readyMillis: Date.now() - started,
    shop: address("shop"),
    collector: address("collector"),
    console: address("console"),
    webhook: address("webhook"),
    printed,
    /** Standard output's lines that are events. */
    events: () => lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)),
    async stop() {
      child.kill("SIGINT");
      const code = await ended;
      return code;
    },
    remove() { rmSync(folder, { recursive: true, force: true }); },
  };
}

export async function startBrowser(...more) {
  const profile = temporaryFolder("chromium");
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!executablePath) throw new Error("no Chromium found: run ./test, which installs it");
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1100, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more],
  });
  return {
    context,
    async stop() {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Every byte of every file below a folder. */
export function* files(folder) {
  for (const name of readdirSync(folder)) {
    const full = path.join(folder, name);
    if (statSync(full).isDirectory()) yield* files(full);
    else yield [full, readFileSync(full)];
  }
}
