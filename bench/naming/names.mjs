// M7: what names look like on real pages: told apart, short, without numbers, hashes or private text, the same each time.
import { bytes, pages } from "./data.mjs";
import { name, share } from "./name.mjs";

function controls() {
  const all = [...document.querySelectorAll("a[href],button,input:not([type=hidden]),select,textarea,summary,form,[role=button],[role=link],[role=tab],[role=menuitem]")];
  return {
    page: convizitPage(),
    controls: all.slice(0, 400).flatMap((el, at) => {
      const field = el.matches("input:not([type=button],[type=submit],[type=reset],[type=image]),select,textarea,form");
      const descriptor = convizitDescribe(el, field ? "change" : "click");
      return descriptor ? [{ id: at, descriptor }] : [];
    }),
  };
}

const HASH = /\b(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{8,}\b|\b[0-9a-f]{10,}\b/i;
const PRIVATE = /\S@\S+\.\S|\+?\d[\d\s().-]{7,}\d/;

export async function m7({ root, browser, binary, each, fails, quick }) {
  const list = pages(root).filter((_, at) => !quick || at % 12 === 0);
  const total = { names: 0, equal: 0, identities: 0, short: 0, bad: 0, generic: 0, changed: 0 };
  await each("M7", list, async ({ file }) => {
    const read = async (viewport) => {
      const found = await browser.on(bytes(file), (page) => page.evaluate(controls), { viewport });
      const answers = await name(binary, found.controls.map((line) => ({ ...line, page: { ...found.page, viewport: undefined } })));
      return answers.map((answer, at) => ({ ...answer, label: found.controls[at].descriptor.label, role: found.controls[at].descriptor.role, tag: found.controls[at].descriptor.tag }));
    };
    const first = await read({ width: 1280, height: 800 });
    const second = await read({ width: 390, height: 800 });
    const plain = (answers) => JSON.stringify(answers.map(({ name, element }) => [name, element]));
    return { answers: first.map(({ name, element, group, name_source, label, role, tag }) => ({ name, element, group: !!group, source: name_source, label, role, tag })), same: plain(first) === plain(second) };
  }, ({ id }, { answers, same }) => {
    total.changed += !same;
    if (!same) fails("M7 determinism", { page: id, html: "", expected: "the same names in two viewports", got: "others" });
    const byName = new Map();
    for (const answer of answers) {
      total.names++;
      total.short += answer.name.length <= 60;
      const bad = /\d{4}/.test(answer.name) || HASH.test(answer.name) || PRIVATE.test(answer.name);
      total.bad += bad;
      const generic = answer.source === "fallback" && !answer.label;
      total.generic += generic;
      if (bad) fails("M7 number, hash or private text", { page: id, html: answer.label, expected: "", got: answer.name });
      if (answer.name.length > 60) fails("M7 length", { page: id, html: answer.label, expected: "at most 60", got: answer.name });
      if (!answer.group) byName.set(answer.name, new Set([...(byName.get(answer.name) ?? []), answer.element]));
    }
    for (const [named, elements] of byName) {
      total.identities += elements.size;
      total.equal += elements.size - 1;
      if (elements.size > 1) fails("M7 equal names", { page: id, html: [...elements].join(), expected: "one identity", got: `${named} × ${elements.size}` });
    }
  });
  console.log(`  ${total.names} controls; without a label ${(100 * share(total.generic, total.names)).toFixed(2)} %; pages that differ between viewports ${total.changed}`);
  return [
    { metric: "M7 equal names of distinct controls of a page", value: share(total.equal, total.identities), count: total.identities, baseline: "–", goal: 0.01, most: true },
    { metric: "M7 at most 60 characters", value: share(total.short, total.names), count: total.names, baseline: "–", goal: 0.99 },
    { metric: "M7 number of 4 digits, hash or private text", value: share(total.bad, total.names), count: total.names, baseline: "–", goal: 0, most: true },
  ];
}
