// Ids, sessions and waits.
import assert from "node:assert/strict";
import test from "node:test";
import { load, storage } from "./sources.mjs";

const MINUTE = 60_000;

test("an id is a UUID of version 7 that carries its time", async () => {
  const { uuid } = await load();
  const now = Date.UTC(2026, 10, 23, 18);
  const ids = Array.from({ length: 2000 }, () => uuid(now));
  assert.equal(new Set(ids).size, 2000);
  for (const id of ids) {
    assert.match(id, /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    assert.equal(parseInt(id.replaceAll("-", "").slice(0, 12), 16), now);
  }
});

test("a session ends 30 minutes after its last event, the visitor stays", async () => {
  const { identify } = await load();
  const from = Date.now();
  const first = identify(from);
  assert.match(first.visitor, /^[\da-f]{28}$/);
  assert.deepEqual(identify(from + 29 * MINUTE), first);
  assert.deepEqual(identify(from + 58 * MINUTE), first);
  const second = identify(from + 88 * MINUTE + 1);
  assert.equal(second.visitor, first.visitor);
  assert.notEqual(second.session.id, first.session.id);
  assert.equal(Date.parse(second.session.start), from + 88 * MINUTE + 1);
});

test("another load goes on with visitor and session", async () => {
  const localStorage = storage();
  const from = Date.now();
  const first = (await load({ localStorage })).identify(from);
  assert.deepEqual((await load({ localStorage })).identify(from + MINUTE), first);
});

test("a stored state that is malformed is replaced", async () => {
  for (const text of ["", "x", "a.b.c.d", "<script>.s.1.2", `${"v".repeat(22)}.${"s".repeat(16)}.NaN.5`]) {
    const localStorage = storage();
    localStorage.setItem("convizit", text);
    assert.match((await load({ localStorage })).identify(Date.now()).visitor, /^[\da-f]{28}$/);
  }
});

test("without identity there is no visitor and no session", async () => {
  const { identify } = await load({ changed: { identity: "none" } });
  assert.deepEqual(identify(Date.now()), {});
});

test("a wait grows, has jitter, honours the server and ends at 5 minutes", async () => {
  const { backoff } = await load();
  for (let failures = 1; failures < 12; failures++) {
    const waits = Array.from({ length: 50 }, () => backoff(failures, 0));
    for (const wait of waits) assert.ok(wait >= Math.min(300_000, 500 * 2 ** failures) && wait <= Math.min(300_000, 1000 * 2 ** failures));
  }
  assert.ok(new Set(Array.from({ length: 50 }, () => backoff(2, 0))).size > 10);
  assert.ok(backoff(1, 60_000) >= 60_000);
  assert.ok(backoff(1, 9e9) <= 300_000);
});
