// The interface for programs over the running binary: names, samples and decisions with real events, then schemathesis against
// its own document: no server error, and no answer that the document does not have.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { until } from "./product.mjs";
import { installed, output } from "./python.mjs";
import { Site } from "./site.mjs";

/** Seconds of the run; `SECONDS=600` is the full size. */
const seconds = Number(process.env.SECONDS ?? 45);
let [site, running, everything, reads] = [];

before(async () => {
  site = await Site.make();
  site.write({ delivery: `allow_folders = [${JSON.stringify(site.folder)}]` });
  const token = (name, scope) => site.ok("token", "add", name, "--project", "shop", "--scope", scope).trim();
  everything = token("everything", "read,samples,capture,settings,destinations,members,erase,export,audit,incidents");
  reads = token("reads", "read");
  site.ok("destination", "add", "shop", "lines", "file", "--path", path.join(site.folder, "out.jsonl"));
  running = await site.serve();
  assert.equal((await site.post(site.batch({ events: 20 }))).status, 204);
});

after(async () => {
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

async function call(where, { token = everything, method = "GET", body, key } = {}) {
  const answer = await fetch(`${site.console}/api/v1/projects/shop${where}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(key ? { "idempotency-key": key } : {}),
    },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, text, json: text && answer.headers.get("content-type").includes("json") ? JSON.parse(text.split("\n")[0]) : null };
}

test("a program finds a name, renames it, undoes that, and sees samples only where it may", async () => {
  const name = await until("a name with 20 events", async () => (await call("/events?like=cart")).json.items.find((item) => item.events === 20));
  assert.equal((await call("/events?like=nothing+like+it")).json.items.length, 0);
  const shown = (await call(`/events/${name.id}`)).json;
  assert.ok(shown.properties.some((property) => property.name === "Product name" && property.examples.includes("Wool hat")), JSON.stringify(shown));
  assert.ok(shown.group, JSON.stringify(shown));
  assert.equal(shown.hours.reduce((sum, hour) => sum + hour.events, 0), 20);
  assert.equal((await call(`/events/${name.id}`, { token: reads })).json.properties, null);
  assert.doesNotMatch((await call(`/events/${name.id}`, { token: reads })).text, /Wool hat/);
  assert.equal((await call("/samples", { token: reads })).status, 403);
  assert.equal((await call("/samples?limit=7")).json.items.length, 7);
  assert.equal((await call(`/events/${name.id}/samples`)).json.items.length, 20);

  const renaming = (seen, key) => call(`/events/${name.id}/rename`, { method: "POST", body: { text: "Add to basket", seen }, key });
  const stale = await renaming("Something else", "k1");
  assert.deepEqual([stale.status, stale.json.current], [409, name.text]);
  const renamed = await renaming(name.text, "k1");
  assert.equal(renamed.status, 200, renamed.text);
  assert.equal((await renaming(name.text, "k1")).text, renamed.text, "the same key decides once");
  const text = async () => (await call(`/events/${name.id}`)).json.name.text;
  await until("the new name", async () => (await text()) === "Add to basket");
  const decisions = (await call("/decisions?limit=1")).json;
  assert.deepEqual([decisions.items[0].id, decisions.items[0].by], [renamed.json.decision, "token:everything"]);
  assert.equal((await call(`/decisions/${renamed.json.decision}/undo`, { method: "POST" })).status, 200);
  await until("the old name", async () => (await text()) === name.text);
  assert.equal((await call(`/events/${name.id}/rename`, { token: reads, method: "POST", body: { text: "x" } })).status, 403);
});

test("destinations are paused and resumed, persons exported and erased, and all of it is in the audit log", async () => {
  await until("the destination is up to date", async () => (await call("/destinations/lines")).json.destination.behind === 0);
  assert.equal((await call("/destinations/lines/pause", { method: "POST" })).status, 204);
  assert.match((await call("/destinations")).json.items[0].paused, /^paused by token:everything on \d{4}-\d\d-\d\d$/);
  assert.equal((await call("/destinations/lines/resume", { method: "POST" })).status, 204);
  assert.equal((await call("/destinations/none/pause", { method: "POST" })).status, 404);
  const { visitor } = (await call("/samples?limit=1")).json.items[0];
  const exported = await call("/persons/export", { method: "POST", body: { visitors: [visitor] } });
  assert.equal(exported.text.trim().split("\n").length, 20);
  const erased = await call("/persons/erase", { method: "POST", body: { visitors: [visitor] }, key: "erase" });
  assert.equal(erased.status, 202, erased.text);
  assert.equal((await call("/samples")).json.items.length, 0);
  const receipt = await call(`/erasures/${erased.json.request}`);
  assert.equal(receipt.json.persons, 1, receipt.text);
  assert.equal((await call("/erasures")).json.items[0].request, erased.json.request);
  const acts = (await call("/audit?actor=token:everything&limit=200")).json.items.map((entry) => entry.act);
  for (const act of ["decision.make", "destination.pause", "destination.resume", "export.persons", "erase.persons"]) assert.ok(acts.includes(act), act);
});

test("schemathesis finds no server error and no answer that the document does not have", { timeout: (seconds + 240) * 1000 }, async () => {
  const program = await installed("schemathesis==4.32.5", "schemathesis");
  assert.equal((await site.post(site.batch({ events: 20 }))).status, 204);
  const name = await until("a name", async () => (await call("/events")).json.items[0]);
  const report = path.join(output, "api");
  rmSync(report, { recursive: true, force: true });
  mkdirSync(report, { recursive: true });
  // What exists is asked for more often than what does not.
  writeFileSync(path.join(site.folder, "schemathesis.toml"), `[parameters]\n"path.project" = "shop"\n"path.event" = "${name.id}"\n"path.destination" = "lines"\n`);
  const child = spawn(program, [
    "--config-file", "schemathesis.toml", "run", `${site.console}/api/v1/openapi.json`,
    "--header", `Authorization: Bearer ${everything}`,
    "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance",
    "--phases", "examples,coverage,fuzzing", "--max-time", String(seconds), "--seed", "1", "--continue-on-failure", "--no-color",
    "--generation-database", "none", "--report", "json", "--report-json-path", path.join(report, "report.json"),
  ], { cwd: site.folder });
  let text = "";
  child.stdout.on("data", (part) => { text += part; });
  child.stderr.on("data", (part) => { text += part; });
  const code = await new Promise((done) => child.once("close", done));
  writeFileSync(path.join(report, "schemathesis.txt"), text);
  assert.equal(code, 0, text.slice(-8000));
  const cases = Number(/(\d+) generated/.exec(text)?.[1] ?? 0);
  console.log(`${cases} calls, 0 server errors, 0 undocumented answers`);
  assert.ok(cases > 500, text.slice(-2000));
  // It must have got in: what it did is in the log.
  const acts = (await call("/audit?actor=token:everything&limit=200")).json.items.map((entry) => entry.act);
  assert.ok(acts.length > 50, acts.join(" "));
  assert.ok(!/panicked/.test(running.log), running.log);
  assert.ok(readFileSync(path.join(report, "report.json"), "utf8").length > 0);
});
