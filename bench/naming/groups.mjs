// M2: groups against hand-made records of search-result pages; M2b: page links, and the names of next and previous.
import { readFileSync } from "node:fs";
import path from "node:path";
import { bytes, csv, decoded, tsv } from "./data.mjs";
import { name, share } from "./name.mjs";

/** In the page: anchors of the rows, the gold records, and what `convizitGroup` says of each anchor. */
function judged(rows) {
  const folded = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}_]+/gu, " ").trim();
  const plain = (el) => {
    let out = "";
    const walk = (node) => {
      for (const child of node.childNodes) {
        if (child.nodeType === 3) out += child.data;
        else if (child.nodeType === 1 && !/^(script|style|noscript)$/.test(child.localName)) walk(child);
      }
    };
    walk(el);
    return out;
  };
  // Deepest elements by their text, in page order.
  const byText = new Map();
  const visit = (el) => {
    if (/^(script|style|noscript)$/.test(el.localName)) return;
    const raw = plain(el);
    if (raw.length < 3000) {
      const text = folded(raw);
      if (text.length >= 6 && ![...el.children].some((child) => !/^(script|style|noscript)$/.test(child.localName) && folded(plain(child)) === text)) {
        if (!byText.has(text)) byText.set(text, []);
        byText.get(text).push(el);
      }
    }
    for (const child of el.children) visit(child);
  };
  visit(document.body);
  const anchors = [];
  for (const row of rows) {
    const fields = row.map(folded).filter((text) => text.length >= 6).sort((a, b) => b.length - a.length);
    for (const field of fields) {
      const el = byText.get(field)?.find((el) => !anchors.includes(el));
      if (el) {
        anchors.push(el);
        break;
      }
    }
  }
  if (anchors.length < 3 || anchors.length < 0.6 * rows.length) return { usable: false, anchors: anchors.length };
  const holds = (el) => anchors.filter((anchor) => el.contains(anchor)).length;
  const gold = anchors.map((anchor) => {
    let at = anchor;
    while (at.parentElement && holds(at.parentElement) === 1) at = at.parentElement;
    return at;
  });
  const where = (el) => {
    const steps = [];
    for (let at = el; at && at !== document.documentElement; at = at.parentElement) steps.unshift(at.localName + (at.className ? "." + String(at.className).trim().split(/\s+/)[0] : ""));
    return steps.join(" > ");
  };
  const results = anchors.map((anchor, index) => {
    const group = convizitGroup(anchor);
    const place = { text: anchor.textContent.trim().slice(0, 80), gold: where(gold[index]) };
    if (!group) return { ...place, none: true };
    const record = group.items[group.position - 1];
    const boundary = holds(record) === 1;
    const counts = group.items.map(holds);
    // A gold row is covered when one member holds it and nothing else.
    const covered = counts.filter((count) => count === 1).length;
    return { ...place, boundary, exact: record === gold[index], got: where(record), covered, members: group.items.length, position: group.position, merged: holds(record) > 1 };
  });
  const positions = results.map(({ position }) => position);
  return { usable: true, anchors: anchors.length, rows: rows.length, results, ordered: positions.every((position, at) => at === 0 || position > positions[at - 1]) };
}

export async function m2({ root, browser, each, fails, quick }) {
  const list = tsv(path.join(root, "estuka_index.tsv"))
    .map((row) => ({ ...row, id: row.html }))
    .filter((_, at) => !quick || at % 12 === 0);
  const total = { pages: 0, anchors: 0, boundary: 0, exact: 0, none: 0, merged: 0, recall: 0, precision: 0, right: 0, ordered: 0 };
  await each(
    "M2",
    list,
    async (row) => {
      const rows = csv(decoded(readFileSync(path.join(root, row.csv)))).filter((fields) => fields.some(Boolean));
      return browser.on(bytes(path.join(root, row.html)), (page) => page.evaluate(judged, rows));
    },
    (row, found) => {
      if (!found.usable) return;
      total.pages++;
      total.ordered += found.ordered;
      let failed = 0;
      for (const result of found.results) {
        total.anchors++;
        total.none += !!result.none;
        total.merged += !!result.merged;
        total.boundary += !!result.boundary;
        total.exact += !!result.exact;
        if (result.boundary) {
          total.right++;
          total.recall += share(result.covered, found.anchors);
          total.precision += share(result.covered, result.members);
        }
        if ((!result.exact || result.covered < found.anchors * 0.9 || result.covered < result.members * 0.9) && failed++ < 3)
          fails("M2", { page: row.id, html: result.text, expected: `${result.gold} × ${found.anchors}`, got: result.none ? "no group" : `${result.got} × ${result.members}, ${result.covered} of them records`, note: result.merged ? "merged" : "" });
      }
    },
  );
  console.log(`  ${total.pages} pages usable, ${total.anchors} anchors; none ${total.none}, merged ${total.merged}; in order on ${total.ordered} pages`);
  const line = (metric, value, baseline, goal) => ({ metric, value, count: total.anchors, baseline, goal });
  return [
    line("M2 group boundary", share(total.boundary, total.anchors), ".898", 0.97),
    line("M2 group exact node", share(total.exact, total.anchors), ".895", 0.95),
    line("M2 group recall", share(total.recall, total.right), ".872", 0.96),
    line("M2 group precision", share(total.precision, total.right), ".901", 0.97),
  ];
}

/** In the page: the links by role, the groups of the page links, descriptors of next and previous. */
function paged(selectors) {
  const all = (selector) => {
    try {
      return selector ? [...document.querySelectorAll(selector)] : [];
    } catch {
      return [];
    }
  };
  const of = Object.fromEntries(Object.entries(selectors).map(([kind, selector]) => [kind, all(selector)]));
  const others = [...of.PREV, ...of.NEXT];
  const links = of.PAGE.filter((el) => !others.includes(el));
  const control = (el) => el.closest("a,button") ?? el.querySelector("a,button") ?? el;
  const show = (el) => ({ html: el.outerHTML.slice(0, 300), descriptor: convizitDescribe(control(el)), word: el.textContent });
  return { links: links.map((el) => convizitDescribe(control(el))), others: others.map((el) => convizitDescribe(control(el))), html: links[0]?.parentElement?.parentElement?.outerHTML.slice(0, 600), next: of.NEXT.slice(0, 1).map(show), prev: of.PREV.slice(0, 1).map(show) };
}

const WORD = /next|prev|older|newer|back|forward|suivant|précédent|precedent|siguiente|anterior|próxim|proxim|weiter|zurück|nächste|vorherige|volgende|vorige|след|пред|вперед|назад|дальше|далее|successiv|precedente|dalej|następn|poprzedn|次|前|下一|上一|下页|上页|다음|이전|sonraki|önceki|později|další|předchozí|nästa|föregående|наступн|попередн/i;

export async function m2b({ root, browser, each, fails, binary, quick }) {
  const [head, ...lines] = csv(readFileSync(path.join(root, "autopager/data.csv"), "utf8"));
  const list = lines
    .map((row) => Object.fromEntries(head.map((key, at) => [key, row[at] ?? ""])))
    .filter((row) => row["File Name"] && !row.failed)
    .map((row) => ({ ...row, id: row["File Name"] }))
    .filter((_, at) => !quick || at % 6 === 0);
  const total = { pages: 0, right: 0, links: 0, named: 0 };
  await each(
    "M2b",
    list,
    (row) => {
      const { PREV, PAGE, NEXT } = row;
      return browser.on(bytes(path.join(root, "autopager/html", row["File Name"] + ".html")), (page) => page.evaluate(paged, { PREV, PAGE, NEXT }), { type: `text/html; charset=${row.Encoding}` });
    },
    async (row, found) => {
      if (row.PAGE && found.links.length) {
        total.pages++;
        // Above and below a list stand two paginators: it is the product's group that has to be one.
        const all = [...found.links, ...found.others].map((descriptor, id) => ({ id, descriptor: descriptor ?? {} }));
        const groups = (await name(binary, all)).map(({ group }) => group?.id);
        const pages = new Set(groups.slice(0, found.links.length));
        const together = pages.size === 1 && groups[0] !== undefined;
        const right = together && groups.slice(found.links.length).every((id) => !pages.has(id));
        total.right += right;
        if (!right) fails("M2b group", { page: row.id, html: found.html, expected: `one group of ${found.links.length} page links`, got: together ? "one, with next or previous in it" : "several groups" });
      }
      for (const { html, descriptor } of [...found.next, ...found.prev]) {
        total.links++;
        const [named] = descriptor ? await name(binary, [{ id: 1, descriptor }]) : [];
        const right = !!named && WORD.test(named.name);
        total.named += right;
        if (!right) fails("M2b name", { page: row.id, html, expected: "a word for next or previous", got: named?.name ?? "null" });
      }
    },
  );
  return [
    { metric: "M2b page links are one group of their own", value: share(total.right, total.pages), count: total.pages, baseline: "about 9 of 10", goal: 0.9 },
    { metric: "M2b next and previous are named", value: share(total.named, total.links), count: total.links, baseline: "–", goal: 0.9 },
  ];
}
