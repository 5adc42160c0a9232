// The running server backs up each day by itself and tries what it made; the newest backup comes back elsewhere with every event.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { library, movedClock } from "../clock.mjs";
import { until } from "../site.mjs";
import { made, serving } from "./sites.mjs";

test("a backup each day, tried by a drill, and restored elsewhere with every event", async () => {
  assert.ok(library, "libfaketime is not installed: run ./test, which installs it");
  const site = await made();
  const { set, env } = movedClock(site.folder);
  const count = () => JSON.parse(site.ok("verify", "--json")).events;
  // A life of the server with some visits and what it did by itself then; it looks for the first time after 20 s.
  const day = async (visits) => {
    const running = await serving(site, { env });
    for (let visit = 0; visit < visits; visit++) assert.equal((await site.post(site.batch({ events: 5 }))).status, 204);
    await until("a backup and its drill", () => /the drill restored a backup and counted what it should/.test(running.log), 60);
    assert.match(running.log, /a backup was made and read back/);
    assert.equal((await running.metrics()).get("convizit_drill_ok"), 1);
    assert.equal(await running.stop(), 0);
    return running.log;
  };
  await day(3);
  set("+25h");
  const second = await day(4);
  assert.doesNotMatch(second, /a backup failed|could not restore/);
  const backups = JSON.parse(site.ok("backup", "list", "--json"));
  assert.equal(backups.length, 2, "one for each day");
  assert.equal(count(), 35);

  site.data = path.join(site.folder, "elsewhere");
  const from = path.join(site.folder, "data");
  site.write({
    backup: `to = ${JSON.stringify(path.join(from, "backups"))}\nkeys_to = ${JSON.stringify(path.join(from, "backup-keys"))}`,
    keys: `provider = "file"\npath = ${JSON.stringify(path.join(from, "keys"))}`,
  });
  assert.match(site.fails("restore"), /say --yes/);
  site.ok("restore", "--yes");
  assert.equal(count(), 35);
});
