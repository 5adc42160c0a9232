// Batches: their bounds, what ends one, what survives a load, what is dropped and counted.
import assert from "node:assert/strict";
import test from "node:test";
import { load, storage } from "./sources.mjs";

const about = (page = {}) => ({ visitor: "v".repeat(22), session: { id: "s".repeat(16), start: "2026-11-23T18:00:00.000Z" }, consent: { analytics: null, ads: null, gpc: false }, page });
const event = (bytes = 100) => ({ id: "0193a1f0-0000-7000-8000-000000000001", type: "click", time: "2026-11-23T18:00:00.000Z", properties: { text: "x".repeat(bytes) } });
const bytes = (value) => Buffer.byteLength(JSON.stringify(value));

test("a batch is closed at 100 events", async () => {
  const tab = await load();
  const { add, seal } = tab;
  const at = about();
  for (let count = 0; count < 250; count++) add(event(1), at);
  seal();
  assert.deepEqual(tab.sealed.map((batch) => batch.events.length), [100, 100, 50]);
});

test("a batch is closed below 32 KiB", async () => {
  const tab = await load();
  const { add, seal } = tab;
  const at = about();
  for (let count = 0; count < 40; count++) add(event(5000), at);
  seal();
  assert.equal(tab.sealed.reduce((sum, batch) => sum + batch.events.length, 0), 40);
  for (const batch of tab.sealed) assert.ok(bytes(batch) <= 32 * 1024, String(bytes(batch)));
});

test("bytes are counted, not characters", async () => {
  const tab = await load();
  const { add, seal } = tab;
  const at = about();
  for (let count = 0; count < 20; count++) add({ ...event(), properties: { text: "字".repeat(2000) } }, at);
  seal();
  for (const batch of tab.sealed) assert.ok(bytes(batch) <= 32 * 1024, String(bytes(batch)));
});

test("a batch has one page, one session, one user and one consent", async () => {
  const tab = await load();
  const { add, seal } = tab;
  const at = about();
  add(event(), at);
  add(event(), at);
  add(event(), { ...at, page: { url: "other" } });
  add(event(), { ...at, page: tab.sealed[0].page, session: { id: "t".repeat(16) } });
  add(event(), { ...at, user: "u1" });
  add(event(), { ...at, consent: { ...at.consent, ads: true } });
  seal();
  assert.deepEqual(tab.sealed.map((batch) => batch.events.length), [2, 1, 1, 1, 1]);
  assert.equal(new Set(tab.sealed.map((batch) => batch.batch)).size, 5);
});

test("one event that is larger than a batch is dropped and counted", async () => {
  const tab = await load();
  const { add, seal } = tab;
  add(event(40_000), about());
  add(event(), about());
  seal();
  assert.deepEqual(tab.sealed.map((batch) => [batch.events.length, batch.dropped]), [[1, 1]]);
});

test("a full queue drops the oldest, with a count of its events in the next batch", async () => {
  const tab = await load();
  const { add, seal } = tab;
  let sent = 0;
  for (let count = 0; count < 30; count++) {
    const at = about();
    for (let more = 0; more < 3; more++) add(event(9000), at), sent++;
    seal();
  }
  const total = tab.sealed.reduce((sum, batch) => sum + bytes(batch), 0);
  assert.ok(total <= 400_000 && total > 300_000, String(total));
  add(event(), about());
  seal();
  const kept = tab.sealed.reduce((sum, batch) => sum + batch.events.length, 0);
  const dropped = tab.sealed.reduce((sum, batch) => sum + (batch.dropped ?? 0), 0);
  assert.equal(kept + dropped, sent + 1);
  assert.ok(dropped > 0);
});

test("what waits survives a load with ids and contents as they were", async () => {
  const localStorage = storage();
  const first = await load({ localStorage });
  first.add(event(), about({ url: "a" }));
  first.seal();
  const before = JSON.stringify(first.sealed);
  const second = await load({ localStorage });
  second.restore();
  assert.equal(JSON.stringify(second.sealed), before);
  assert.equal(Object.keys(localStorage).length, 1, "stored once");
  second.remove(second.sealed[0]);
  assert.deepEqual(Object.keys(localStorage), []);
});

test("what an earlier load left malformed costs nothing else, another project's is left alone", async () => {
  const localStorage = storage();
  localStorage.setItem("convizit.q.pk_unit.aaa", "{");
  localStorage.setItem("convizit.q.pk_unit.bbb", "[null,{}]");
  localStorage.setItem("convizit.q.pk_unit.ccc", "7");
  localStorage.setItem("convizit.q.pk_other.ddd", "[{\"events\":[]}]");
  localStorage.setItem("other", "1");
  const first = await load({ localStorage });
  first.add(event(), about());
  first.seal();
  const second = await load({ localStorage });
  second.restore();
  assert.equal(second.sealed.length, 1);
  assert.deepEqual(Object.keys(localStorage).filter((name) => !name.startsWith("convizit.q.pk_unit.")), ["convizit.q.pk_other.ddd", "other"]);
  assert.equal(Object.keys(localStorage).length, 3);
});

test("what earlier loads left is bounded too", async () => {
  const localStorage = storage();
  for (let left = 0; left < 4; left++) {
    const tab = await load({ localStorage });
    for (let count = 0; count < 12; count++) tab.add(event(20_000), about());
    tab.seal();
  }
  const next = await load({ localStorage });
  next.restore();
  next.add(event(), about());
  next.seal();
  const total = next.sealed.reduce((sum, batch) => sum + bytes(batch), 0);
  assert.ok(total <= 400_000, String(total));
});

test("a storage that is full, off or throws costs nothing but survival", async () => {
  for (const localStorage of [storage(50), undefined, null]) {
    const tab = await load({ localStorage });
  const { add, seal, restore } = tab;
    restore();
    add(event(), about());
    seal();
    assert.equal(tab.sealed.length, 1);
  }
});

test("without identity nothing is written", async () => {
  const localStorage = storage();
  const tab = await load({ localStorage, changed: { identity: "none" } });
  const { add, seal } = tab;
  add(event(), about());
  seal();
  assert.equal(tab.sealed.length, 1);
  assert.deepEqual(Object.keys(localStorage), []);
});

test("withdrawn consent clears what waits, in memory and in storage", async () => {
  const localStorage = storage();
  const tab = await load({ localStorage });
  const { add, seal, clear } = tab;
  add(event(), about());
  seal();
  add(event(), about());
  clear();
  seal();
  assert.deepEqual(tab.sealed, []);
  assert.deepEqual(Object.keys(localStorage), []);
});
