// What stops a start, each with one sentence that says what to do; and TLS, ports and folders as an operator sets them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, openSync, readFileSync, rmSync, writeFileSync, writeSync, closeSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { test } from "node:test";
import tls from "node:tls";
import { startPostgres } from "../product.mjs";
import { CHROME, ORIGIN } from "../site.mjs";
import { ends, made, serving } from "./sites.mjs";

test("a setting that cannot be used stops the start and is named with its line or its key", async () => {
  const site = await made({ project: null });
  const file = path.join(site.folder, "convizit.toml");
  writeFileSync(path.join(site.folder, "no.mmdb"), "no database");
  const cases = [
    ["data = \"x\"\n\ndatta = 1\n", /line 3: unknown field `datta`/],
    ["[collector]\nlisten = \"127.0.0.1:1\"\nlissten = 2\n", /line 3: unknown field `lissten`/],
    ["[collectr]\n", /line 1: unknown field `collectr`/],
    ["[collector]\nlisten = \"localhost\"\n", /line 2: .*socket address/],
    ["[journal]\nmegabytes = \"many\"\n", /line 2: .*expected a whole number/],
    ["[log]\nformat = \"xml\"\n", /line 2: .*`text`/],
    ["[collector\n", /line 1: /],
    ["[collector]\nlisten = \"0.0.0.0:8090\"\n", /plain HTTP.*collector\.certificate.*behind_proxy = true/],
    ["[collector]\nlisten = \"[::]:8090\"\n", /plain HTTP/],
    ["[collector]\ncertificate = \"a.pem\"\n", /collector\.certificate and collector\.key belong together/],
    ["[collector]\nlisten = \"127.0.0.1:0\"\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n", /a\.pem cannot be read/],
    ["[journal]\nmegabytes = 1\n", /journal\.megabytes: 16 to/],
    ["database_url_file = \"nowhere\"\n", /database_url_file nowhere cannot be read/],
    ["geo = \"nowhere.mmdb\"\n[console]\nlisten = \"127.0.0.1:0\"\n[collector]\nlisten = \"127.0.0.1:0\"\n", /geo = nowhere\.mmdb cannot be read/],
    ["geo = \"no.mmdb\"\n[console]\nlisten = \"127.0.0.1:0\"\n[collector]\nlisten = \"127.0.0.1:0\"\n", /geo = no\.mmdb/],
    ["[log]\nfilter = \"convizit=loud=x\"\n", /log\.filter/],
    ["[delivery]\nallow_networks = [\"lan\"]\n[console]\nlisten = \"127.0.0.1:0\"\n[collector]\nlisten = \"127.0.0.1:0\"\n", /delivery\.allow_networks: lan is no network/],
    ["[keys]\nprovider = \"file\"\npath = \"/proc/convizit/keys\"\n", /\/proc\/convizit/],
    ["data = \"/proc/convizit\"\n", /\/proc\/convizit/],
  ];
  for (const [text, expected] of cases) {
    writeFileSync(file, text);
    const { code, out, err } = site.run(["serve"]);
    const said = err.split("\n").filter((line) => line.startsWith("error: "));
    assert.equal(code, 1, `${text}: ${err}`);
    assert.equal(said.length, 1, `${text}: ${err}`);
    assert.match(said[0], expected, text);
    assert.ok(!err.includes("is ready"), `it said that it was ready: ${err}`);
    assert.equal(out, "");
  }
  assert.match(site.fails("serve", "--config", "missing.toml"), /missing\.toml cannot be read/);
  assert.equal(site.run(["serve", "--role", "boss"]).code, 2);
});

test("a busy port, a second process and a lost key file stop the start", async () => {
  const site = await made();
  const taken = createServer();
  await new Promise((done) => taken.listen(site.consolePort, "127.0.0.1", done));
  assert.match(site.fails("serve"), new RegExp(`console\\.listen = 127\\.0\\.0\\.1:${site.consolePort} is busy`));
  await new Promise((done) => taken.close(done));

  const first = await serving(site);
  assert.match(site.fails("serve"), /another convizit already runs the role collect on the data folder .*stop it first/);
  assert.match(site.fails("serve", "--role", "deliver"), /role deliver/);
  // Other commands work beside it, and what they change is taken.
  site.ok("settings", "set", "shop", "cookie_days", "30");
  assert.equal((await site.post(site.batch())).status, 204);
  assert.equal(await first.stop(), 0, first.log);

  const keys = path.join(site.data, "keys");
  const kept = readFileSync(keys);
  rmSync(keys);
  assert.match(site.fails("serve"), /key/);
  writeFileSync(keys, kept, { mode: 0o600 });
  chmodSync(keys, 0o644);
  assert.match(site.fails("serve"), /0600|chmod/);
  chmodSync(keys, 0o600);
  const again = await serving(site);
  assert.equal(await again.stop(), 0, again.log);
});

test("a database of a newer schema stops the start with what to do, on SQLite and on PostgreSQL", async () => {
  const site = await made();
  const journal = path.join(site.data, "journal.db");
  assert.ok(!existsSync(`${journal}-wal`), "a closed store leaves no log behind");
  // SQLite's user_version stands at byte 60 of the file.
  const whole = readFileSync(journal);
  const file = openSync(journal, "r+");
  writeSync(file, Buffer.from([0, 0, 0, 99]), 0, 4, 60);
  closeSync(file);
  const said = site.fails("serve");
  assert.match(said, /journal\.db has schema 99, this build knows 1: start the newer build/);
  assert.equal(site.fails("migrate"), said);
  assert.equal(site.run(["doctor"]).code, 1);
  writeFileSync(journal, whole);
  site.ok("doctor");

  const postgres = await startPostgres();
  ends.push(() => postgres.stop());
  const other = await made({ env: { CONVIZIT_DATABASE_URL: postgres.url } });
  const running = await serving(other);
  assert.equal((await other.post(other.batch())).status, 204);
  assert.equal(await running.stop(), 0, running.log);
  assert.equal(postgres.query("select sum(items) from outcomes where outcome = 'accepted'"), "1");
  assert.match(other.ok("migrate"), /of this version's schema/);
  postgres.query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (2999, 'later', true, '', 0)");
  for (const command of ["serve", "migrate", "project list"]) {
    assert.match(other.fails(...command.split(" ")), /made by a newer convizit; start that version, or restore a backup/);
  }
  // A password never stands in an error.
  for (const url of ["postgres://me:geheim17@127.0.0.1:1/events", "postgres://me:geheim17@127.0.0.1:port/events", "mysql://me:geheim17@127.0.0.1/events", "geheim17"]) {
    const { code, err } = other.run(["serve"], { env: { CONVIZIT_DATABASE_URL: url } });
    assert.equal(code, 1);
    assert.match(err, /^error: .+\n$/);
    assert.ok(!err.includes("geheim17"), err);
  }
});

test("a copy of the data folder with an older journal is refused, and the sentence says how to go on", async () => {
  const site = await made();
  const old = path.join(site.folder, "old");
  let running = await serving(site);
  await site.post(site.batch());
  assert.equal(await running.stop(), 0);
  cpSync(path.join(site.data, "journal.db"), old);
  running = await serving(site);
  for (let count = 0; count < 3; count++) await site.post(site.batch());
  assert.equal(await running.stop(), 0);
  cpSync(old, path.join(site.data, "journal.db"));
  assert.match(site.fails("serve"), /batches? .* lost|already processed/);
  assert.match(site.fails("serve"), /accept/);
});

test("a lost data.db stops every command with the ways to go on, and a start that accepts the loss keeps older backups", async () => {
  const site = await made();
  const accepting = { wrap: ["sh", "-c", "exec \"$@\" --accept-gap", "sh"] };
  let running = await serving(site);
  assert.equal((await site.post(site.batch())).status, 204);
  assert.equal(await running.stop(), 0, running.log);
  site.ok("backup");
  const data = path.join(site.data, "data.db");
  rmSync(data);
  for (const command of ["notices list", "verify", "audit list", "backup", "serve"]) {
    assert.match(site.fails(...command.split(" ")), /data\.db is missing from .*convizit restore --move-aside.*convizit serve --accept-gap/);
    assert.ok(!existsSync(data), `${command} made an empty one`);
  }
  running = await serving(site, accepting);
  assert.equal((await site.post(site.batch())).status, 204);
  assert.match(site.fails("restore", "--move-aside", "--yes"), /a convizit with the role collect runs on .*: end it first/);
  assert.equal(await running.stop(), 0, running.log);
  // A console has the databases open, too.
  running = await serving(site, { role: "console" });
  assert.match(site.fails("restore", "--move-aside", "--yes"), /a console, or another command of convizit, runs on .*: end it first/);
  assert.equal(await running.stop(), 0, running.log);
  assert.match(site.ok("backup"), /No older backup is dropped: .*convizit notices resolve \d+/);
  assert.equal(JSON.parse(site.ok("backup", "list", "--json")).length, 2, "one day keeps one, but for the gap");
});

const handshake = (port, options) => new Promise((done) => {
  const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, servername: "events.shop.example", ...options });
  socket.once("secureConnect", () => { done(socket.getProtocol()); socket.destroy(); }).once("error", (error) => done(error.code ?? error.message));
});

test("TLS 1.2 and 1.3 are spoken with the operator's certificate, 1.1 is refused, and batches arrive", async () => {
  const site = await made();
  const [certificate, key] = ["certificate.pem", "key.pem"].map((name) => path.join(site.folder, name));
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=events.shop.example",
    "-addext", "subjectAltName=DNS:events.shop.example", "-keyout", key, "-out", certificate], { stdio: "ignore" });
  // `data` alone is loopback: with a certificate it may listen anywhere.
  site.write({ collector: `certificate = ${JSON.stringify(certificate)}\nkey = ${JSON.stringify(key)}` });
  const running = await serving(site, { role: "all", ready: false });
  await running.ready(null);
  assert.equal(await handshake(site.port, { minVersion: "TLSv1.3" }), "TLSv1.3");
  assert.equal(await handshake(site.port, { maxVersion: "TLSv1.2" }), "TLSv1.2");

  // That this client can speak 1.1 at all is shown by a server that does.
  const weak = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" };
  const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(certificate), ...weak });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  assert.equal(await handshake(server.address().port, weak), "TLSv1.1");
  server.close();
  assert.notEqual(await handshake(site.port, weak), "TLSv1.1");

  const answer = await new Promise((done, failed) => {
    const body = JSON.stringify(site.batch());
    const socket = tls.connect({ port: site.port, host: "127.0.0.1", servername: "events.shop.example", ca: readFileSync(certificate) });
    let text = "";
    socket.once("error", failed).on("data", (part) => { text += part; }).once("end", () => done(text));
    socket.write(`POST /v1/collect HTTP/1.1\r\nhost: events.shop.example\r\norigin: ${ORIGIN}\r\nuser-agent: ${CHROME}\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  });
  assert.match(answer, /^HTTP\/1\.1 204/);
  assert.match(site.ok("project", "snippet", "shop"), new RegExp(`https://127\\.0\\.0\\.1:${site.port}`));
  assert.equal(await running.stop(), 0, running.log);

  writeFileSync(key, "no key");
  assert.match(site.fails("serve"), /certificate\.pem and key .*key\.pem cannot be used together/);
  const { code, out } = site.run(["doctor"]);
  assert.equal(code, 1);
  assert.match(out, /^problem {2}certificate: .*key\.pem/m);
});
