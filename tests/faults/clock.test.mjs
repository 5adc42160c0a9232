// A clock that jumps forward or back by 25 hours and by 400 days, between two lives and under a running program: nothing is lost or stored twice, nothing ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { library, movedClock } from "../e2e/clock.mjs";
import { pause } from "../e2e/site.mjs";
import { count, random, seed, summary } from "./plan.mjs";
import { Stand } from "./stand.mjs";

const ROUNDS = count("rounds", 1, 10);

const skip = library ? false : "skipped: the clock does not jump because libfaketime is not installed";

for (const [name, jumps] of [["25 hours", ["+25h", "-25h"]], ["400 days", ["+400d", "-400d"]]]) {
  test(`a clock that jumps by ${name} (seed ${seed})`, { skip }, async () => {
    const next = random();
    const stand = await Stand.make();
    const { set, env } = movedClock(stand.site.folder);
    await stand.serve({ env });
    const known = stand.site.batch({ events: 3 });
    const visit = async (when) => {
      // A clock that is years ahead makes every key too old to seal, until upkeep has made new ones.
      if (name === "400 days") assert.equal((await stand.post({ when, tries: 300 })).at(-1), 204, when);
      for (let batch = 0; batch < 5; batch++) await stand.take(when);
      // What was taken before a jump is known after it.
      assert.deepEqual(await stand.post({ when, batch: known }), [204], when);
      await pause(100 + next() * 900);
      assert.equal(stand.running.child.exitCode ?? stand.running.child.signalCode, null, `${when}: it ended: ${stand.running.log}`);
      assert.equal((await stand.running.health()).status, 200, when);
      assert.ok(!/a panic at/.test(stand.running.log), `${when}: ${stand.running.log}`);
    };
    await visit("before any jump");
    let jumped = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (const jump of jumps.flatMap((offset) => [offset, "+0"])) {
        set(jump);
        jumped++;
        await visit(`running, the clock set to ${jump}`);
        // A round of upkeep at this time.
        if (jump !== "+0" && name === "400 days") await pause(5500);
      }
      for (const jump of jumps.flatMap((offset) => [offset, "+0"])) {
        await stand.running.stop(next() < 0.5 ? "SIGKILL" : "SIGTERM");
        set(jump);
        jumped++;
        await stand.serve({ env });
        await visit(`started with the clock at ${jump}`);
      }
    }
    // And one at the true time.
    await pause(5500);
    await stand.check();
    summary(`clock: ${jumped} jumps of ${name}, ${stand.ledger.length} events answered; no end, no refusal; 0 lost, 0 repeated`);
  });
}
