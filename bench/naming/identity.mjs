// M3: the same control in another release of a site; M4: on another page; M5: in another language.
import { readFileSync } from "node:fs";
import path from "node:path";
import { bytes, tsv } from "./data.mjs";
import { name, share, shuffled } from "./name.mjs";

const ROLES = { a: "link", button: "button", select: "combobox", textarea: "textbox", img: "img", li: "listitem" };
const INPUTS = { submit: "button", button: "button", reset: "button", image: "button", checkbox: "checkbox", radio: "radio", search: "searchbox", number: "spinbutton", range: "slider" };

/** An element of similo.jsonl as a descriptor. */
function descriptorOf(element) {
  const { type = "", href, is_button } = element;
  const tag = element.tag.toLowerCase();
  const input = tag === "input";
  const role = input ? (INPUTS[type] ?? "textbox") : is_button === "yes" || is_button === "true" ? (ROLES[tag] ?? "button") : (ROLES[tag] ?? "");
  const label = [element.visible_text, element.text, /button|submit|reset/.test(type) ? element.value : "", element.title, element.placeholder].find((text) => text?.trim()) ?? "";
  const attributes = {};
  for (const key of ["id", "class", "name", "href", "type", "title", "placeholder", "value"]) if (element[key]) attributes[key] = element[key];
  if (input) delete attributes.value;
  if (href) attributes.href = href;
  const steps = element.xpath.replace(/\*\[local-name\(\) = "(\w+)"\]/g, "$1").replace(/\[\d+\]/g, "").split("/").filter(Boolean);
  return {
    role,
    label: label.replace(/\s+/g, " ").trim().slice(0, 120),
    labelSource: "content",
    tag: input ? `input:${type || "text"}` : tag,
    context: [],
    group: null,
    properties: {},
    attributes,
    path: steps.join(">"),
  };
}

const related = (a, b) => a === b || a.startsWith(b + "/") || b.startsWith(a + "/");

/** The best pair of threshold and margin for a wanted precision, and a fixed pair for comparison. */
function sweep(queries, positives) {
  const at = (tau, delta) => {
    let [hit, said] = [0, 0];
    for (const { best, second, right } of queries) {
      if (best < tau || best - second < delta) continue;
      said++;
      hit += right;
    }
    return { tau, delta, precision: share(hit, said), recall: share(hit, positives) };
  };
  const grid = [];
  for (let tau = 0.3; tau < 1; tau += 0.01) for (let delta = 0; delta <= 0.3; delta += 0.02) grid.push(at(tau, delta));
  const top = (precision) => grid.filter((point) => point.precision >= precision).reduce((a, b) => (b.recall > a.recall ? b : a), { recall: 0, precision: 0, tau: 0, delta: 0 });
  return { at, top };
}

export async function m3({ root, binary, fails, each }) {
  const apps = readFileSync(path.join(root, "similo.jsonl"), "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const closed = { right: 0, ties: 0, count: 0 };
  const [queries, loose] = [[], []];
  await each("M3", apps.map((app) => ({ id: app.app, app })), async ({ app }) => {
    const unique = new Map();
    app.candidates.forEach((element) => unique.has(element.xpath) || unique.set(element.xpath, element));
    const candidates = shuffled([...unique.values()], 7);
    const known = candidates.map((element) => ({ id: element.xpath, descriptor: descriptorOf(element) }));
    const old = app.targets.map(({ old, gold }, at) => ({ id: String(at), gold: app.candidates[gold].xpath, descriptor: descriptorOf(old) }));
    const ranked = (await name(binary, old, { known, rank: true })).map(({ candidates }, at) => ({ gold: old[at].gold, descriptor: old[at].descriptor, top: candidates.slice(0, 3) }));
    const open = (await name(binary, known, { known: old, rank: true })).map(({ id, candidates }) => ({ id, top: candidates.slice(0, 3) }));
    return { ranked, open, gold: old.map(({ gold }) => gold) };
  }, ({ id, app }, { ranked, open, gold }) => {
    for (const { gold, top, descriptor } of ranked) {
      closed.count++;
      const tie = top.length > 1 && top[0].score === top[1].score;
      const right = top[0]?.id === gold && !tie;
      closed.right += right;
      closed.ties += !right && top.some((candidate) => candidate.id === gold && candidate.score === top[0].score);
      if (!right) fails("M3 closed", { page: id, html: JSON.stringify(descriptor), expected: `${gold} ${JSON.stringify(descriptorOf(app.candidates.find(({ xpath }) => xpath === gold)))}`, got: JSON.stringify(top.map(({ id, score }) => [id, score])) });
    }
    for (const { id: xpath, top } of open) {
      const [best, second] = [top[0]?.score ?? 0, top[1]?.score ?? 0];
      const hit = top[0] ? gold[Number(top[0].id)] : "";
      queries.push({ best, second, right: hit === xpath });
      loose.push({ best, second, right: related(hit, xpath) });
    }
  });
  const { top, at } = sweep(queries, closed.count);
  const [p95, p98] = [top(0.95), top(0.98)];
  const wide = sweep(loose, closed.count).top(0.98);
  const says = ({ precision, recall, tau, delta }) => `P ${precision.toFixed(3)} R ${recall.toFixed(3)} at τ ${tau.toFixed(2)} δ ${delta.toFixed(2)}`;
  console.log(`  closed: ${closed.right} of ${closed.count}, ${closed.ties} ties; open: ${says(p95)}; ${says(p98)}; ancestors and descendants right: ${says(wide)}; at τ .80 δ .08 ${says(at(0.8, 0.08))}`);
  return [
    { metric: "M3 closed set, unique top-1", value: share(closed.right, closed.count), count: closed.count, baseline: "90.4 %", goal: 0.94 },
    { metric: "M3 open set, recall at precision .95", value: p95.recall, count: queries.length, baseline: ".629 at .947", goal: 0.8 },
    { metric: "M3 open set, recall at precision .98", value: p98.recall, count: queries.length, baseline: ".556", goal: 0.65 },
  ];
}

/** In the page: ids are hidden; descriptors of all controls and of the elements that had one of these ids. */
function withoutIds(wanted) {
  const known = new Map();
  for (const el of document.querySelectorAll("[id]")) {
    if (!known.has(el.id)) known.set(el.id, el);
  }
  const golds = new Map(wanted.map((id) => [known.get(id), id]).filter(([el]) => el));
  // Names by labelledby and labels for fields go by ids: they are read before ids are hidden.
  const field = (el) => el.matches("input:not([type=button],[type=submit],[type=reset],[type=image]),select,textarea");
  const control = "a[href],button,input:not([type=hidden]),select,textarea,summary,form,[role=button],[role=link],[role=tab],[role=menuitem],[onclick]";
  const controls = [...document.querySelectorAll(control)];
  // What lies inside a control is that control: its description is the same, and none could tell them apart.
  const all = [...new Set([...controls, ...golds.keys()])].filter((el) => controls.includes(el) || !el.closest(control.replace("form,", "")));
  const out = all.map((el, at) => {
    const descriptor = convizitDescribe(el, field(el) || el.localName === "form" ? "change" : "click");
    if (!descriptor) return null;
    delete descriptor.attributes.id;
    for (const key of Object.keys(descriptor.attributes)) if (/id$/i.test(key) && descriptor.attributes[key] === el.id) delete descriptor.attributes[key];
    return { at, id: golds.get(el) ?? "", control: controls.includes(el), descriptor };
  });
  return out.filter(Boolean);
}

const generated = (id) => /\d{3}|[0-9a-f]{12}|^(yui|ext-|ctl|gwt|ember|react|ui-id|jQuery)|auto-?id/i.test(id);

/** Finds elements of page a on page b; `pairs` are ids that both have. */
async function across({ browser, binary, a, b, pairs }) {
  const read = (html) => browser.on(html, (page) => page.evaluate(withoutIds, pairs));
  const [from, to] = [await read(a), await read(b)];
  const queries = from.filter(({ id }) => id && to.some((other) => other.id === id));
  if (!queries.length) return [];
  const known = to.map(({ at, id, descriptor }) => ({ id: id ? `id ${id}` : String(at), descriptor }));
  const lines = queries.map(({ id, descriptor }) => ({ id, descriptor }));
  return (await name(binary, lines, { known, rank: true })).map(({ id, candidates }, at) => ({
    id,
    role: queries[at].descriptor.role || queries[at].descriptor.tag,
    control: queries[at].control,
    descriptor: queries[at].descriptor,
    gold: to.find((other) => other.id === id).descriptor,
    top: candidates.slice(0, 4),
    goldScore: candidates.find((candidate) => candidate.id === `id ${id}`)?.score,
  }));
}

function count(total, found, page, fails, metric) {
  for (const { id, role, descriptor, gold, top, goldScore } of found) {
    const tie = top.length > 1 && top[0].score === top[1].score;
    const right = top[0]?.id === `id ${id}` && !tie;
    total.count++;
    total.right += right;
    total.ties += !right && goldScore !== undefined && goldScore === top[0].score;
    const of = (total.roles[role] ??= [0, 0]);
    of[0] += right;
    of[1]++;
    if (!right) fails(metric, { page, html: JSON.stringify(descriptor), expected: `${goldScore?.toFixed(3)} ${JSON.stringify(gold)}`, got: JSON.stringify(top), note: tie ? "tie" : "" });
  }
}

const roles = (total) =>
  Object.entries(total.roles).sort((a, b) => b[1][1] - a[1][1]).slice(0, 12).map(([role, [right, all]]) => `${role} ${right}/${all}`).join(", ");

export async function m4({ root, browser, binary, each, fails, quick }) {
  const bySite = new Map();
  for (const { site, page_a, page_b, id } of tsv(path.join(root, "estuka_id_pairs.tsv"))) {
    if (generated(id)) continue;
    const found = bySite.get(site) ?? { id: site, a: page_a, b: page_b, ids: [] };
    bySite.set(site, found);
    // The first two pages of a site, and so many pairs that one site does not decide.
    if (found.a === page_a && found.b === page_b && found.ids.length < 25) found.ids.push(id);
  }
  const list = [...bySite.values()].filter((_, at) => !quick || at % 8 === 0);
  const total = { right: 0, ties: 0, count: 0, roles: {} };
  await each("M4", list, ({ a, b, ids }) => across({ browser, binary, a: bytes(path.join(root, a)), b: bytes(path.join(root, b)), pairs: ids }), ({ id }, found) => count(total, found, id, fails, "M4"));
  console.log(`  ${total.right} of ${total.count}, ${total.ties} ties; ${roles(total)}`);
  return [{ metric: "M4 ids hidden, unique top-1", value: share(total.right, total.count), count: total.count, baseline: "89.8 %", goal: 0.95 }];
}

export async function m5({ root, browser, binary, each, fails, quick }) {
  const truth = JSON.parse(readFileSync(path.join(root, "product-extraction/ground-truth.json"), "utf8"));
  // The one shop that the set has in five countries.
  const shops = new Map();
  for (const [key, { url }] of Object.entries(truth)) {
    const host = new URL(Array.isArray(url) ? url[0] : url).hostname.replace(/^www\d?\./, "");
    const [, shop, tld] = /^(?:.*\.)?([^.]+)\.((?:co\.)?[a-z]+)$/.exec(host) ?? [];
    if (!shop) continue;
    if (!shops.has(shop)) shops.set(shop, new Map());
    const countries = shops.get(shop);
    countries.set(tld, [...(countries.get(tld) ?? []), key]);
  }
  const [, countries] = [...shops].sort((a, b) => b[1].size - a[1].size)[0];
  const html = (key) => bytes(path.join(root, `product-extraction/html/${key}.html.gz`));
  const base = countries.get("com") ?? [];
  const list = [...countries].filter(([tld]) => /^(de|fr|it)$/.test(tld)).flatMap(([tld, keys]) => keys.map((b, at) => ({ id: `com → ${tld} ${b}`, a: base[at % base.length], b }))).filter((_, at) => !quick || at % 4 === 0);
  const total = { right: 0, ties: 0, count: 0, roles: {} };
  const ids = (text) => new Set([...text.toString("utf8").matchAll(/\bid\s*=\s*["']([^"'\s]+)["']/g)].map(([, id]) => id));
  await each("M5", list, ({ a, b }) => {
    const [one, other] = [html(a), html(b)];
    const there = ids(other);
    const pairs = [...ids(one)].filter((id) => there.has(id) && !generated(id));
    return across({ browser, binary, a: one, b: other, pairs }).then((found) => found.filter(({ control }) => control));
  }, ({ id }, found) => count(total, found, id, fails, "M5"));
  console.log(`  ${total.right} of ${total.count}, ${total.ties} ties; ${roles(total)}`);
  return [{ metric: "M5 another language, unique top-1", value: share(total.right, total.count), count: total.count, baseline: "88.7 %", goal: 0.95 }];
}
