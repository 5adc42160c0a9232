// Bad input and bad senders on the running program: the design's answers, readable by the page, and nobody else is kept out.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { CHROME, ORIGIN, Site, eventId, pause } from "../site.mjs";

let site;
let running;
let sent = 0;

before(async () => {
  site = await Site.make();
  // The limit of open files that a login or a service usually has.
  running = await site.serve({ wrap: ["sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh"] });
});

after(async () => {
  await running?.stop("SIGKILL");
  site?.remove();
});

const good = async () => {
  const answer = await site.post(site.batch());
  assert.equal(answer.status, 204);
  sent += 1;
};

/** A raw request on a connection of its own; gives all that comes back until the server closes or so long. */
function raw(text, { wait = 15_000, end = false } = {}) {
  return new Promise((done) => {
    let answer = "";
    const socket = connect(site.port, "127.0.0.1", () => { socket.write(text); if (end) socket.end(); });
    const finish = () => { socket.destroy(); done(answer); };
    socket.on("data", (part) => { answer += part; }).once("close", finish).once("error", finish);
    setTimeout(finish, wait).unref();
  });
}

const head = (length, extra = "") => `POST /v1/collect HTTP/1.1\r\nhost: x\r\norigin: ${ORIGIN}\r\nuser-agent: ${CHROME}\r\n${extra}${length === null ? "" : `content-length: ${length}\r\n`}\r\n`;

test("each bad body gets its status and a JSON problem that names the field, and the page may read it", async () => {
  const with_ = (change) => {
    const body = site.batch();
    change(body);
    return JSON.stringify(body);
  };
  const event = (change) => with_((body) => change(body.events[0]));
  const zeros = gzipSync(Buffer.alloc(40 << 20, " "));
  assert.ok(zeros.length < 64 * 1024, "the bomb fits below the bound on what is sent");
  const cases = [
    ["", 400, "body"],
    ["{", 400, "body"],
    ["null", 400, "body"],
    ["[]", 400, "body"],
    [Buffer.from([0xff, 0xfe, 0x00]), 400, "body"],
    ["[".repeat(60_000), 400, "body"],
    [`{"v":1,"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`, 400, "body"],
    [gzipSync("{"), 400, "body"],
    [Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(200)]), 400, "body"],
    [gzipSync(JSON.stringify(site.batch())).subarray(0, 100), 400, "body"],
    [zeros, 413, "body"],
    [gzipSync(gzipSync(JSON.stringify(site.batch()))), 400, "body"],
    ["x".repeat(64 * 1024 + 1), 413, "body"],
    [with_((body) => { body.v = 2; }), 400, "v"],
    [with_((body) => { body.v = "1"; }), 400, "v"],
    [with_((body) => { delete body.key; }), 400, "key"],
    [with_((body) => { body.key = 17; }), 400, "key"],
    [with_((body) => { body.sent = "yesterday"; }), 400, "sent"],
    [with_((body) => { body.batch = { a: 1 }; }), 400, "batch"],
    [with_((body) => { body.visitor = "a b"; }), 400, "visitor"],
    [with_((body) => { body.session.id = ""; }), 400, "session.id"],
    [with_((body) => { body.page.url = "x".repeat(2049); }), 400, "page.url"],
    [with_((body) => { body.events = []; }), 400, "events"],
    [with_((body) => { body.events = Array.from({ length: 101 }, () => ({ id: eventId(), type: "click", time: body.sent })); }), 400, "events"],
    [event((one) => { one.id = "1"; }), 400, "events[0].id"],
    [event((one) => { one.type = "tap"; }), 400, "events[0].type"],
    [event((one) => { one.time = 5; }), 400, "events[0].time"],
    [event((one) => { one.properties = { a: { b: 1 } }; }), 400, "events[0].properties[0]"],
    [event((one) => { one.properties = Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`k${index}`, 1])); }), 400, "events[0].properties"],
    [event((one) => { one.descriptor.label = "x".repeat(121); }), 400, "events[0].descriptor.label"],
    [event((one) => { one.descriptor.group.position = -1; }), 400, "events[0].descriptor.group.position"],
  ];
  for (const [body, status, field] of cases) {
    const answer = await site.post(body);
    const name = `${status} ${field} ${String(body).slice(0, 60)}`;
    assert.equal(answer.status, status, name);
    assert.equal(answer.headers.get("content-type"), "application/problem+json", name);
    assert.equal(answer.headers.get("access-control-allow-origin"), ORIGIN, `unreadable, so tried for ever: ${name}`);
    assert.equal(answer.headers.get("access-control-allow-credentials"), null);
    const problem = await answer.json();
    assert.equal(problem.field, field, `${name}: ${problem.detail}`);
    assert.ok(problem.detail.length > 3 && problem.status === status);
  }
  await good();
});

test("an unknown key and an origin that is not allowed are 403, and a missing origin is none", async () => {
  const stranger = await site.post({ ...site.batch(), key: "pk_nobodyhasthiskey" });
  assert.deepEqual([stranger.status, (await stranger.json()).field], [403, "key"]);
  for (const origin of [null, "https://evil.example", "null", "http://shop.example", "https://shop.example.evil.example", `${ORIGIN}:444`]) {
    const answer = await site.post(site.batch(), { origin });
    assert.deepEqual([answer.status, (await answer.json()).field], [403, "origin"], origin);
    assert.equal(answer.headers.get("access-control-allow-origin"), null, origin);
  }
  await good();
});

test("other methods and paths are answered as problems, and HEAD as GET without a body", async () => {
  for (const method of ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
    const answer = await fetch(`${site.collector}/v1/collect`, { method });
    assert.equal(answer.status, 405, method);
    assert.equal(answer.headers.get("allow"), "POST", method);
    assert.equal((await answer.json()).field, "method", method);
  }
  assert.equal((await fetch(`${site.collector}/v1/collect`, { method: "HEAD" })).status, 405);
  for (const path of ["/", "/v1", "/v1/collect/", "/t/", "/t/x.html", "/t/pk_nobodyhasthiskey.js", "/metrics", "/healthz", "/..%2f..%2fetc%2fpasswd"]) {
    const answer = await fetch(site.collector + path);
    assert.equal(answer.status, 404, path);
    assert.equal(answer.headers.get("content-type"), "application/problem+json", path);
  }
  const script = `${site.collector}/t/${site.key}.js`;
  const [whole, alone] = [await fetch(script), await fetch(script, { method: "HEAD" })];
  assert.equal(whole.headers.get("etag"), alone.headers.get("etag"));
  assert.equal((await alone.text()).length, 0);
  assert.ok((await whole.text()).includes(site.key));
  assert.equal((await fetch(script, { method: "POST" })).status, 405);
  await good();
});

test("broken HTTP is refused and closed, and harms nobody", { concurrency: true }, async () => {
  const body = JSON.stringify(site.batch());
  assert.match(await raw("nonsense\r\n\r\n"), /^HTTP\/1\.1 400/);
  assert.match(await raw(`GET /${"x".repeat(70_000)} HTTP/1.1\r\nhost: x\r\n\r\n`), /^HTTP\/1\.1 4(14|31)|^$/);
  assert.match(await raw(`POST /v1/collect HTTP/1.1\r\nhost: x\r\n${Array.from({ length: 300 }, (_, index) => `x-${index}: ${"y".repeat(100)}`).join("\r\n")}\r\n\r\n`), /^HTTP\/1\.1 431|^$/);
  assert.doesNotMatch(await raw(head(body.length, "transfer-encoding: chunked\r\n") + body, { wait: 1000 }), /^HTTP\/1\.1 204/);
  assert.match(await raw(head(null, "transfer-encoding: chunked\r\n") + "zz\r\n"), /^HTTP\/1\.1 400|^$/);
  assert.match(await raw(head(null, "transfer-encoding: chunked\r\n") + `${(70_000).toString(16)}\r\n${"x".repeat(70_000)}\r\n0\r\n\r\n`, { wait: 2000 }), /^HTTP\/1\.1 413/);
  assert.match(await raw(head(body.length + 10) + body, { end: true, wait: 2000 }), /^HTTP\/1\.1 400|^$/);
  assert.match(await raw(head(null, "connection: close\r\ntransfer-encoding: chunked\r\n") + `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`), /^HTTP\/1\.1 204/);
  sent += 1;
  await good();
});

test("slow senders are closed after their time, and while they dawdle others are served", async () => {
  const slow = [];
  const began = performance.now();
  // More than there is room for whole bodies: each has said 64 KiB and sent one byte.
  for (let count = 0; count < 700; count++) slow.push(raw(`${head(60_000)}{`));
  // And some that do not even end their head.
  for (let count = 0; count < 50; count++) slow.push(raw("POST /v1/collect HTTP/1.1\r\nhost: x\r\n"));
  await pause(1500);
  for (let count = 0; count < 5; count++) {
    const asked = performance.now();
    await good();
    assert.ok(performance.now() - asked < 1000, "an honest batch waits for slow ones");
  }
  const answers = await Promise.all(slow);
  const took = (performance.now() - began) / 1000;
  assert.ok(answers.slice(0, 700).every((answer) => answer.startsWith("HTTP/1.1 408")), answers.find((answer) => !answer.startsWith("HTTP/1.1 408")));
  assert.ok(took < 14.5, `slow connections were held for ${took} s`);
});

test("a crowd of idle connections beyond the usual limit of open files keeps nobody out", async () => {
  const sockets = [];
  for (let count = 0; count < 1500; count++) {
    const socket = connect(site.port, "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    if (count % 100 === 99) await pause(20);
  }
  await pause(300);
  const asked = performance.now();
  await good();
  assert.ok(performance.now() - asked < 2000, "an honest batch waits until idle connections are closed");
  const closed = sockets.map((socket) => socket.closed || new Promise((done) => socket.once("close", done)));
  assert.equal((await running.health()).status, 200);
  await Promise.race([Promise.all(closed), pause(20_000).then(() => assert.fail("idle connections are never closed"))]);
});

test("everything that came is counted, and every good batch is stored", async () => {
  await pause(1500);
  const metrics = await running.metrics();
  const outcome = (name) => metrics.get(`convizit_outcomes_total{outcome="${name}"}`) ?? 0;
  assert.equal(outcome("accepted"), sent);
  assert.equal(outcome("refused.unknown_key"), 1);
  assert.equal(outcome("refused.origin"), 6);
  assert.ok(outcome("refused.malformed") >= 20 && outcome("refused.too_large") >= 5 && outcome("refused.version") === 1, JSON.stringify([...metrics.keys()]));
  const shown = JSON.parse(site.ok("project", "show", "shop", "--json"));
  assert.equal(shown.outcomes.accepted, sent);
  assert.equal(await running.stop(), 0, running.log);
  running = null;
});
