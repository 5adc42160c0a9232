// M9: what a description costs in the browser, and a name on the server.
import { statSync } from "node:fs";
import { bytes, pages } from "./data.mjs";
import { name, random } from "./name.mjs";

function timed() {
  const all = [...document.querySelectorAll("a[href],button,input:not([type=hidden]),select,textarea,summary")];
  const step = Math.max(1, Math.floor(all.length / 60));
  const out = [];
  for (let at = 0; at < all.length; at += step) {
    const el = all[at];
    const start = performance.now();
    const found = convizitDescribe(el, "click");
    out.push({ ms: performance.now() - start, bytes: found ? JSON.stringify(found).length : 0, html: el.outerHTML.slice(0, 200) });
  }
  return out;
}

const at = (list, share) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0;

export async function m9({ root, browser, binary, each, fails, quick }) {
  const largest = pages(root).filter(({ set }) => set !== "readability").map((page) => ({ ...page, size: page.file.endsWith(".gz") ? bytes(page.file).length : statSync(page.file).size })).sort((a, b) => b.size - a.size).slice(0, quick ? 3 : 10);
  const [times, sizes] = [[], []];
  await each("M9", largest, ({ file }) =>
    browser.on(bytes(file), async (page) => {
      const session = await page.context().newCDPSession(page);
      await page.evaluate(timed);
      await session.send("Emulation.setCPUThrottlingRate", { rate: 4 });
      const found = await page.evaluate(timed);
      await session.detach();
      return found;
    }), ({ id }, found) => {
    for (const { ms, bytes, html } of found) {
      times.push(ms);
      if (bytes) sizes.push(bytes);
      if (ms > 4) fails("M9", { page: id, html, expected: "4 ms", got: `${ms.toFixed(1)} ms` });
    }
  }, { fresh: true, alone: true });
  // 10 000 different elements; one query in 20 is known by nothing exact.
  const next = random(9);
  const word = () => Array.from({ length: 5 }, () => "abcdefghijklmnopqrstuvwxyz"[Math.floor(next() * 26)]).join("");
  const known = Array.from({ length: 10_000 }, (_, id) => {
    const label = `${word()} ${word()}`;
    return { id, descriptor: { role: "button", label, template: label, labelSource: "content", tag: "button", context: [{ kind: "section", name: word() }], group: null, properties: {}, attributes: { class: word(), name: word() }, path: "main>section>div>button" } };
  });
  const queries = Array.from({ length: quick ? 50_000 : 200_000 }, (_, id) => {
    const { descriptor } = known[Math.floor(next() * known.length)];
    return { id, descriptor: id % 20 ? descriptor : { ...descriptor, label: `${descriptor.label} now`, template: `${descriptor.label} now`, path: "main>div>div>button" } };
  });
  await name(binary, queries.slice(0, 1), { known });
  const clock = async (queries) => {
    const start = process.hrtime.bigint();
    await name(binary, queries, { known });
    return Number(process.hrtime.bigint() - start) / 1e9;
  };
  // What starting and learning take is subtracted.
  const rest = await clock(queries.slice(0, 1));
  const rate = (queries.length - 1) / ((await clock(queries)) - rest);
  console.log(`  browser p50 ${at(times, 0.5).toFixed(2)} ms, p95 ${at(times, 0.95).toFixed(2)} ms, most ${Math.max(...times).toFixed(1)} ms; descriptor p50 ${at(sizes, 0.5)} bytes`);
  return [
    { metric: "M9 browser p95 at 4× throttle, ms", value: at(times, 0.95), count: times.length, baseline: "–", goal: 4, most: true, plain: true },
    { metric: "M9 server, names a second of a core", value: rate, count: queries.length, baseline: "–", goal: 100_000, plain: true },
  ];
}
