// Every command as a person and a script meet it: help with an example, JSON where a program reads, exit codes, sentences.
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { Site, folder, until } from "../site.mjs";

let site;
let running;

before(async () => {
  site = await Site.make();
  site.write({ delivery: `allow_folders = [${JSON.stringify(folder(site, "lines"))}]` });
  running = await site.serve();
});

after(async () => {
  await running?.stop("SIGKILL");
  site?.remove();
});

/** The commands that a help text lists. */
function listed(help) {
  const [, part = ""] = help.split(/^Commands:\n/m);
  return part.split(/\n\n/)[0].split("\n").map((line) => /^ {2}([a-z-]+)/.exec(line)?.[1]).filter((name) => name && name !== "help");
}

test("every command, down to the last, has help with an example that names it", () => {
  const seen = [];
  const walk = (words) => {
    const help = site.ok(...words, "--help");
    seen.push(words.join(" "));
    assert.match(help, /^Examples?:/m, words.join(" "));
    const example = help.slice(help.search(/^Examples?:/m));
    assert.ok(example.includes(`convizit ${words[0] ?? ""}`), `${words.join(" ")}: ${example}`);
    assert.match(help, /^Usage: convizit/m);
    for (const name of listed(help)) walk([...words, name]);
  };
  walk([]);
  for (const command of ["demo", "serve", "migrate", "doctor", "project add", "project not-captured", "project changes", "settings set", "destination add webhook", "destination add file", "notices resolve", "name", "scrub"]) {
    assert.ok(seen.includes(command), `${command} is not among ${seen.join(", ")}`);
  }
});

test("what a program reads is JSON", async () => {
  const json = (...args) => JSON.parse(site.ok(...args, "--json"));
  const added = json("project", "add", "second", "--origin", "https://second.example");
  assert.match(added.project.key, /^pk_/);
  assert.ok(added.snippet.includes(added.project.key) && added.snippet.length <= 450, added.snippet);
  assert.deepEqual(json("project", "list").map((project) => project.id), ["second", "shop"].sort());
  assert.equal(json("project", "show", "shop").project.settings.retention_days, 60);
  const lines = json("destination", "add", "shop", "lines", "file", "--path", path.join(site.folder, "lines", "events.jsonl"));
  assert.deepEqual([lines.destination.name, lines.secret], ["lines", null]);
  assert.equal(json("destination", "list", "shop")[0].destination.name, "lines");
  assert.deepEqual(json("destination", "dead", "shop", "lines"), []);
  site.ok("destination", "pause", "shop", "lines");
  assert.match(json("destination", "list", "shop")[0].destination.paused, /^paused by .* on \d{4}-\d\d-\d\d$/);
  assert.deepEqual(json("notices", "list"), [], "what a person chose calls for nobody");
  assert.ok(json("doctor").every((one) => one.problem === null));
  site.ok("destination", "resume", "shop", "lines");
  assert.ok(json("doctor").every((one) => one.problem === null));
  JSON.parse(site.ok("settings", "get", "shop"));
  site.ok("destination", "remove", "shop", "lines", "--yes");
});

test("a wrong command says in one sentence what to do, and changes nothing", () => {
  const before = site.ok("project", "list", "--json");
  const cases = [
    [["project", "add", "shop", "--origin", "https://shop.example"], /shop/],
    [["project", "add", "third", "--origin", "shop.example"], /origins\[0\]/],
    [["project", "show", "nobody"], /there is no project nobody/],
    [["project", "remove", "shop"], /--yes/],
    [["settings", "set", "shop", "retention_days", "many"], /retention_days/],
    [["settings", "set", "shop", "cookie_days", "401"], /cookie_days: 1 to 400/],
    [["settings", "set", "shop", "gpc", "false"], /gpc takes a word such as stop, and false is none/],
    [["settings", "set", "shop", "gpc", "never"], /stop.*no_ads.*ignore/],
    [["settings", "set", "shop", "exclude_selectors", ".price"], /here '\["\.price"\]'/],
    [["settings", "set", "shop", "exclude_paths", '["/a?b=1"]'], /without what stands behind/],
    [["settings", "set", "shop", "nothing", "1"], /there is no setting nothing; there are origins/],
    [["destination", "add", "shop", "Big", "file", "--path", path.join(site.folder, "lines", "x")], /a-z, 0-9/],
    [["destination", "add", "shop", "out", "file", "--path", "/etc/convizit.jsonl"], /allow_folders/],
    [["destination", "add", "shop", "out", "file", "--path", path.join(site.folder, "lines", "no", "x")], /make it/],
    [["destination", "add", "shop", "hook", "webhook", "--url", "ftp://hooks.example/"], /only http and https/],
    [["destination", "add", "shop", "db", "postgres", "--url-env", "NOT_THERE"], /the environment has no NOT_THERE/],
    [["destination", "add", "shop", "hook", "webhook", "--url", "https://8.8.8.8/", "--type", "tap"], /there is no event type tap; there are page_view/],
    [["destination", "pause", "shop", "nothing"], /there is no destination nothing/],
    [["destination", "dead", "shop", "nothing"], /there is no destination nothing/],
    [["notices", "seen", "99"], /there is no notice 99/],
    [["name", "--known", "missing.jsonl"], /missing\.jsonl cannot be read/],
  ];
  for (const [args, expected] of cases) assert.match(site.fails(...args), expected, args.join(" "));
  for (const args of [["project"], ["nonsense"], ["project", "add"], ["project", "add", "Big Name", "--origin", "https://x.example"], ["notices", "seen", "x"]]) {
    assert.equal(site.run(args).code, 2, args.join(" "));
  }
  assert.equal(site.ok("project", "list", "--json"), before);
});

test("doctor makes nothing where there is nothing, and says so", () => {
  const { code, out } = site.run(["doctor", "--json"], { env: { CONVIZIT_DATA: path.join(site.folder, "elsewhere") } });
  assert.equal(code, 1);
  assert.match(JSON.parse(out).find((one) => one.check === "store").problem, /there is no installation in .*elsewhere: .*convizit project add makes a new one/);
  assert.ok(!existsSync(path.join(site.folder, "elsewhere")));
});

test("the two faces read lines, and name the one that is wrong", () => {
  const line = JSON.stringify({ id: "a", page: { url: "https://shop.example/" }, descriptor: site.batch().events[0].descriptor });
  const named = JSON.parse(site.run(["name"], { input: `${line}\n` }).out);
  assert.deepEqual(Object.keys(named).sort(), ["element", "group", "id", "name", "name_source", "properties"]);
  assert.equal(named.name, "Add to cart");
  writeFileSync(path.join(site.folder, "known.jsonl"), `${line}\n`);
  const ranked = JSON.parse(site.run(["name", "--known", "known.jsonl", "--rank"], { input: `${line}\n` }).out);
  assert.equal(ranked.candidates[0].id, "a");
  const scrubbed = site.run(["scrub"], { input: '{"id":1,"text":"Add to cart"}\n\n{"id":2,"text":"anna.b@mail.example"}\n' });
  assert.deepEqual(scrubbed.out.trim().split("\n").map((text) => JSON.parse(text).withheld), [false, true]);
  for (const command of ["name", "scrub"]) {
    const good = (id) => `{"id":${id},"text":"ok","descriptor":{}}\n`;
    const { code, out, err } = site.run([command], { input: `${good(1)}{"id":2\n${good(3)}{"id":4,"descriptor":7,"text":{}}\n${good(5)}` });
    assert.equal(code, 1);
    assert.deepEqual(out.trim().split("\n").map((text) => JSON.parse(text).id), [1, 3, 5], "the others are answered");
    assert.deepEqual(err.trim().split("\n").map((text) => /^error: standard input, line (\d)/.exec(text)?.[1]), ["2", "4"]);
  }
});

test("a changed setting reaches browsers within seconds of another process saving it", async () => {
  site.ok("settings", "set", "shop", "exclude_paths", '["/account/*"]');
  const settings = async () => (await fetch(`${site.collector}/t/${site.key}.json`)).json();
  await until("the new settings are published", async () => (await settings()).excludePaths.includes("account"), 5);
  const answer = await site.post(site.batch());
  assert.equal(answer.headers.get("convizit-settings"), String((await settings()).version));
});
