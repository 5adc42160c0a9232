// A write or a sync that fails with EIO or ENOSPC, once or from then on: no answer whose data is missing, no sync that failed tried again, and the next start works.
import assert from "node:assert/strict";
import { test } from "node:test";
import { pause, until } from "../e2e/site.mjs";
import { random, seed, summary } from "./plan.mjs";
import { Stand } from "./stand.mjs";
import { BATCHES, TARGETS, noStrace, occurrences, serveWith, steps, traced } from "./strace.mjs";

test(`a call that fails loses nothing that was answered (seed ${seed})`, { skip: noStrace() }, async () => {
  const next = random();
  const stand = await Stand.make({ events: 20 });
  const calls = await occurrences(stand);
  const seen = { faults: 0, refusedBatches: 0, refusedStarts: 0, slowest: 0 };
  for (const target of TARGETS) {
    for (const error of ["EIO", "ENOSPC"]) {
      for (const at of steps(target, calls, next, 3)) {
        const lasting = next() < 0.3;
        await one(stand, target, error, at, lasting, seen);
      }
    }
  }
  await stand.serve();
  const { answered, again } = await stand.check();
  assert.ok(seen.faults > TARGETS.length, `only ${seen.faults} faults were met`);
  summary(
    `failing calls: ${seen.faults} faults, ${seen.refusedBatches} batches refused, ${seen.refusedStarts} starts refused, ${answered} events answered; ` +
    `0 lost, 0 repeated (${again} lines again in the file); batches taken again after ${seen.slowest.toFixed(0)} ms at most`,
  );
});

test("the file destination writes lines again whose sync failed", { skip: noStrace() }, async () => {
  const stand = await Stand.make();
  const target = { call: "fdatasync", file: "lines.jsonl" };
  const running = await serveWith(stand, target, "error=EIO:when=1", { trace: "write,fdatasync" });
  await running.ready(stand.site.collector);
  await stand.take("before the sync that fails");
  await pause(3000);
  await running.stop("SIGKILL");
  const lines = traced(stand);
  const failed = lines.findIndex((line) => line.injected);
  assert.ok(failed > 0, "a sync failed");
  const after = lines.slice(failed + 1);
  const again = after.findIndex(({ call }) => call === "fdatasync");
  assert.ok(again >= 0, `it is tried again: ${running.log}`);
  // An empty write is none.
  const written = after.slice(0, again).some(({ call, result }) => call === "write" && result > 0);
  assert.ok(written, `nothing was written before the sync was tried again:\n${lines.map(({ line }) => line).join("\n")}`);
});

async function one(stand, target, error, at, lasting, seen) {
  const when = `${error} of ${target.call} ${at}${lasting ? " and all after it" : ""} of ${target.file}`;
  const fault = `error=${error}:when=${at}${lasting ? "+" : ""}`;
  const running = await serveWith(stand, target, fault, { trace: "fsync,fdatasync,pwrite64,close", once: !lasting });
  const alive = await running.ready(stand.site.collector).then(() => true, () => false);
  if (alive) {
    for (let batch = 0; batch < BATCHES; batch++) {
      const began = performance.now();
      const statuses = await stand.post({ when, tries: lasting ? 1 : 100 });
      assert.ok(statuses.every((status) => status === 204 || status === 503), `${when}: answered ${statuses}: ${running.log}`);
      seen.refusedBatches += statuses.filter((status) => status === 503).length;
      if (!lasting) {
        assert.equal(statuses.at(-1), 204, `${when}: batches are refused for good: ${running.log}`);
        if (statuses.length > 1) seen.slowest = Math.max(seen.slowest, performance.now() - began);
      }
    }
    // The mark is written twice a second.
    if (target.file === "journal.mark.new") await pause(600);
    if (!lasting) await until(`${when}: health is good again`, async () => (await running.health()).status === 200, 10);
    assert.equal(running.child.exitCode ?? running.child.signalCode, null, `${when}: the program ended: ${running.log}`);
    await running.stop("SIGKILL");
  } else {
    seen.refusedStarts++;
    assert.match(running.log, /error: [^\n]+\n$/, `${when}: a start that is refused says why`);
  }
  await pause(20);
  const lines = traced(stand);
  seen.faults += lines.filter((line) => line.injected).length > 0 ? 1 : 0;
  syncedAgain(lines, when, running.log);
  const after = await stand.serve();
  assert.equal((await after.health()).status, 200, `${when}: ${after.log}`);
  await stand.take(`${when}, after the next start`);
  await after.stop("SIGKILL");
}

/**
 * What the system said is not written may be gone from its memory, and a later sync that succeeds says nothing of it. So no open
 * file that was written to, and whose sync failed, is written on and synced. (SQLite syncs once more when it closes such a file,
 * and acknowledges nothing then; a checkpoint syncs a log that is synced, and is repeated whole when that fails.)
 */
function syncedAgain(lines, when, log) {
  const open = new Map();
  for (const { call, descriptor, file, injected, result, line } of lines) {
    const state = open.get(descriptor) ?? open.set(descriptor, { written: true, failed: false, writtenOn: false }).get(descriptor);
    if (call === "close") open.delete(descriptor);
    else if (call === "pwrite64") Object.assign(state, { written: true, writtenOn: state.failed });
    else if (injected) state.failed ||= state.written;
    else if (result === 0) {
      const harmless = !state.failed || /\.db$/.test(file) || (/-wal$/.test(file) && !state.writtenOn);
      const told = () => lines.filter((one) => one.call !== "pwrite64" && one.descriptor === descriptor).map((one) => one.line).join("\n");
      assert.ok(harmless, `${when}: synced again after it failed: ${line}\n${log}\n${harmless || told()}`);
      state.written = false;
    }
  }
}
