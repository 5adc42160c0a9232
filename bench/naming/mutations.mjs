// M6: the same control after a change of the page: what a deploy, a language, a price or a test does to it. Seeds are fixed.
import { articles, bytes, pages } from "./data.mjs";
import { name, share } from "./name.mjs";

/** In the page: stamps controls once, changes the page, describes them again. The stamp is no attribute. */
function mutated({ kinds, seed }) {
  const next = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 4294967296);
  const stamp = Symbol.for("stamp");
  const CONTROLS = "a[href],button,input:not([type=hidden]),select,textarea,summary,[role=button],[role=link],[role=tab],[role=menuitem]";
  if (!document[stamp]) {
    document[stamp] = true;
    [...document.querySelectorAll(CONTROLS)].slice(0, 150).forEach((el, at) => (el[stamp] = at + 1));
  }
  const body = document.body;
  const texts = () => {
    const out = [];
    const walk = document.createTreeWalker(body, 4);
    while (walk.nextNode()) if (walk.currentNode.data.trim() && !/^(SCRIPT|STYLE|NOSCRIPT|TEXTAREA)$/.test(walk.currentNode.parentElement.tagName)) out.push(walk.currentNode);
    return out;
  };
  const hash = (text) => [...text].reduce((sum, c) => (Math.imul(sum, 31) + c.charCodeAt(0)) >>> 0, seed).toString(36).slice(0, 6);
  const replace = (el, tag, role) => {
    const other = document.createElement(tag);
    for (const { name, value } of [...el.attributes]) if (name !== "href" && name !== "type") other.setAttribute(name, value);
    if (role) other.setAttribute("role", role);
    other[stamp] = el[stamp];
    other.append(...el.childNodes);
    el.replaceWith(other);
  };
  const PSEUDO = { a: "á", e: "ë", i: "ï", o: "ö", u: "ü", c: "ç", n: "ñ", s: "š", A: "Å", E: "É", I: "Î", O: "Ø", U: "Û", C: "Č", N: "Ň", S: "Š" };
  const pseudo = (text) => text.replace(/[a-z]/gi, (c) => PSEUDO[c] ?? c) + " ẋẋ";
  const changes = {
    // A build hashes every class anew: what a person wrote goes too.
    classes: () => document.querySelectorAll("[class]").forEach((el) => el.setAttribute("class", [...el.classList].map((c) => `c${hash(c)}9`).join(" "))),
    ids: () => document.querySelectorAll("[id]").forEach((el) => el.removeAttribute("id")),
    shuffle: () => {
      for (const list of document.querySelectorAll("ul,ol,tbody,nav")) {
        const items = [...list.children];
        if (items.length < 3 || new Set(items.map((item) => item.localName)).size > 1) continue;
        for (const item of items.sort(() => next() - 0.5)) list.append(item);
      }
    },
    wrap: () => {
      for (const el of [...body.querySelectorAll("div,section")].filter(() => next() < 0.1)) {
        const around = document.createElement("div");
        el.replaceWith(around);
        around.append(el);
      }
    },
    banner: () => {
      const banner = document.createElement("div");
      banner.innerHTML = "<p>Free shipping this week</p><a href='/sale'>See the sale</a>";
      body.prepend(banner);
    },
    items: () => {
      for (const list of document.querySelectorAll("ul,ol,tbody")) {
        const items = [...list.children];
        if (items.length < 4) continue;
        const gone = items[Math.floor(next() * items.length)];
        gone.remove();
        list.append(items.find((item) => item !== gone).cloneNode(true));
      }
    },
    pseudo: () => {
      for (const text of texts()) text.data = pseudo(text.data);
      for (const el of body.querySelectorAll("[aria-label],[title],[alt],[placeholder]"))
        for (const key of ["aria-label", "title", "alt", "placeholder"]) if (el.getAttribute(key)) el.setAttribute(key, pseudo(el.getAttribute(key)));
      for (const el of body.querySelectorAll("input[type=submit][value],input[type=button][value]")) el.setAttribute("value", pseudo(el.getAttribute("value")));
      document.documentElement.lang = "x-pseudo";
    },
    prices: () => {
      for (const text of texts()) text.data = text.data.replace(/\d/g, () => String(1 + Math.floor(next() * 9)));
    },
    roles: () => {
      for (const el of [...body.querySelectorAll("button")]) replace(el, "div", "button");
      for (const el of [...body.querySelectorAll("a[role=button]")]) replace(el, "button");
    },
    minify: () => {
      for (const text of texts()) text.data = text.data.replace(/\s+/g, " ");
      const walk = document.createTreeWalker(body, 4 | 128);
      const gone = [];
      while (walk.nextNode()) if (walk.currentNode.nodeType === 8 || (!walk.currentNode.data.trim() && walk.currentNode.data.includes("\n"))) gone.push(walk.currentNode);
      gone.forEach((node) => node.remove());
    },
  };
  for (const kind of kinds) changes[kind]();
  const out = [];
  for (const el of document.querySelectorAll(CONTROLS)) {
    const at = el[stamp];
    if (!at || out.some((other) => other.at === at)) continue;
    const descriptor = convizitDescribe(el, el.matches("input:not([type=button],[type=submit],[type=reset],[type=image]),select,textarea") ? "change" : "click");
    if (descriptor) out.push({ at, descriptor, page: { language: document.documentElement.lang || "en" } });
  }
  return out;
}

const KINDS = ["classes", "ids", "shuffle", "wrap", "banner", "items", "pseudo", "prices", "roles", "minify"];
const GOALS = { classes: 0.99, shuffle: 0.99, wrap: 0.99, prices: 0.99, pseudo: 0.95, triples: 0.9 };

export async function m6({ root, browser, binary, each, fails, quick }) {
  const list = [...articles(root).filter((_, at) => at % (quick ? 40 : 4) === 0), ...pages(root).filter(({ set }) => set === "product").filter((_, at) => at % (quick ? 48 : 8) === 0)];
  const total = {};
  let [merged, alike, told] = [0, 0, 0];
  await each("M6", list, async ({ file, id }) => {
    const html = bytes(file);
    const read = (kinds, seed) =>
      browser.on(html, async (page) => {
        // Stamped before it is changed.
        await page.evaluate(mutated, { kinds: [], seed });
        return page.evaluate(mutated, { kinds, seed });
      });
    const before = await read([], 1);
    const known = before.map(({ at, page, descriptor }) => ({ id: at, page, descriptor }));
    if (!known.length) return { rows: [], merged: 0, alike: 0, told: 0 };
    const first = new Map((await name(binary, known)).map((answer) => [answer.id, answer]));
    let seed = [...id].reduce((sum, c) => (Math.imul(sum, 31) + c.charCodeAt(0)) >>> 0, 7);
    const pick = () => KINDS[(seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % KINDS.length];
    const runs = [...KINDS.map((kind) => [kind, [kind]]), ["triples", [pick(), pick(), pick()]], ["triples", [pick(), pick(), pick()]]];
    const rows = [];
    for (const [kind, kinds] of runs) {
      const after = await read(kinds, seed);
      const answers = after.length ? await name(binary, after.map(({ at, page, descriptor }) => ({ id: at, page, descriptor })), { known }) : [];
      const wrong = answers.filter((answer) => first.get(answer.id) && first.get(answer.id).element !== answer.element);
      const shown = wrong.slice(0, 2).map(({ id }) => ({ before: before.find(({ at }) => at === id).descriptor, after: after.find(({ at }) => at === id).descriptor }));
      rows.push({ kind, kinds, all: answers.length, same: answers.length - wrong.length, named: answers.filter((answer) => first.get(answer.id)?.name === answer.name).length, shown });
    }
    // Two controls outside of groups that say something else must not be one; those that lead to the same place are shown apart.
    const alone = known.filter(({ descriptor }) => !descriptor.group && descriptor.label);
    const by = new Map();
    for (const { id, descriptor } of alone) {
      const element = first.get(id).element;
      by.set(element, [...(by.get(element) ?? []), descriptor]);
    }
    const say = ({ label }) => label.toLowerCase().trim();
    const others = [...by.values()].map((list) => list.filter((one, at) => list.findIndex((other) => say(other) === say(one)) === at)).filter((list) => list.length > 1);
    const isOne = (list) => new Set(list.map(({ attributes }) => attributes.href ?? Symbol())).size === 1;
    const count = (lists) => lists.reduce((sum, list) => sum + list.length - 1, 0);
    return { rows, merged: count(others.filter((list) => !isOne(list))), alike: count(others.filter(isOne)), told: alone.length, distinct: others.slice(0, 2) };
  }, ({ id }, found) => {
    merged += found.merged;
    alike += found.alike;
    told += found.told;
    for (const pair of found.distinct ?? []) fails("M6 merged", { page: id, html: JSON.stringify(pair[0]), expected: "two identities", got: JSON.stringify(pair[1]) });
    for (const { kind, kinds, all, same, shown } of found.rows) {
      const of = (total[kind] ??= { all: 0, same: 0 });
      of.all += all;
      of.same += same;
      for (const { before, after } of shown) fails(`M6 ${kind}`, { page: id, html: JSON.stringify(before), expected: "the same identity", got: JSON.stringify(after), note: kinds.join() });
    }
  });
  return [
    ...Object.entries(total).map(([kind, { all, same }]) => ({ metric: `M6 same identity: ${kind}`, value: share(same, all), count: all, baseline: "–", goal: GOALS[kind] })),
    { metric: "M6 false merges", value: share(merged, told), count: told, baseline: "–", goal: 0.005, most: true },
    { metric: "M6 merged, with one address and other words", value: share(alike, told), count: told, baseline: "–" },
  ];
}
