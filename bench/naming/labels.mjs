// M1: labels against Chromium's own accessible names on real pages; M1b: the conformance cases of web-platform-tests.
import path from "node:path";
import { bytes, pages, tsv } from "./data.mjs";
import { fold, share } from "./name.mjs";

const ROLES = "button checkbox combobox gridcell link listbox menuitem menuitemcheckbox menuitemradio option radio searchbox slider spinbutton switch tab textbox treeitem".split(" ");
const CONTROLS = ["a[href]", "button", "input:not([type=hidden])", "select", "textarea", "summary", ...ROLES.map((role) => `[role=${role}]`)].join();

/** In the page: every control with what describe.js says of it, by its place among all elements. */
function described(controls) {
  return [...document.querySelectorAll("*")].flatMap((el, at) => {
    if (!el.matches(controls)) return [];
    const found = convizitDescribe(el, el.matches("input:not([type=button],[type=submit],[type=reset],[type=image],[type=color],[type=range]),select,textarea") ? "change" : "click");
    const html = el.outerHTML.slice(0, 300);
    return [{ at, html, found: found && { label: found.label, source: found.labelSource, role: found.role, withheld: found.withheld?.length ?? 0 } }];
  });
}

/** Backend ids of all elements in document order. */
async function ids(session) {
  const { root } = await session.send("DOM.getDocument", { depth: -1 });
  const out = [];
  const walk = (node) => {
    if (node.nodeType === 1) out.push(node.backendNodeId);
    for (const child of node.children ?? []) walk(child);
  };
  walk(root);
  return out;
}

/** Chromium's name of each element that its accessibility tree does not ignore. */
async function accessible(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("DOM.enable");
  const order = await ids(session);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  const names = new Map(nodes.filter((node) => !node.ignored).map((node) => [node.backendDOMNodeId, node.name?.value ?? ""]));
  return order.map((id) => names.get(id));
}

const one = (browser, { file }) =>
  browser.on(bytes(file), async (page) => {
    const truth = await accessible(page);
    const found = await page.evaluate(described, CONTROLS);
    return found.filter(({ at }) => truth[at] !== undefined).map(({ at, html, found }) => ({ html, found, truth: fold(truth[at]) }));
  });

const cut = (text) => fold(fold(text).slice(0, 120));

export async function m1({ root, browser, each, fails, quick }) {
  const list = pages(root).filter((_, at) => !quick || at % 12 === 0);
  const totals = {};
  await each("M1", list, (page) => one(browser, page), (page, controls) => {
    for (const set of [page.set, "all"]) {
      const total = (totals[set] ??= { controls: 0, none: 0, withheld: 0, asked: 0, exact: 0, loose: 0, nameless: 0, named: 0 });
      for (const { html, found, truth } of controls) {
        total.controls++;
        if (!found) {
          total.none++;
          continue;
        }
        if (found.withheld) {
          total.withheld++;
          continue;
        }
        total.asked++;
        const label = found.source === "fallback" ? "" : found.label;
        const exact = cut(label) === cut(truth);
        total.exact += exact;
        total.loose += cut(label).toLowerCase().replace(/\s/g, "") === cut(truth).toLowerCase().replace(/\s/g, "");
        if (truth === "") {
          total.nameless++;
          total.named += found.label !== "";
        }
        if (set !== "all") continue;
        if (!exact) fails("M1", { page: page.id, html, expected: cut(truth), got: cut(label), note: found.source });
        else if (truth === "" && !found.label) fails("M1 nameless", { page: page.id, html, expected: "a label", got: "" });
      }
    }
  });
  const { all } = totals;
  for (const [set, total] of Object.entries(totals)) {
    console.log(`  ${set.padEnd(12)} exact ${(100 * share(total.exact, total.asked)).toFixed(2)} %, loose ${(100 * share(total.loose, total.asked)).toFixed(2)} % of ${total.asked}; null ${(100 * share(total.none, total.controls)).toFixed(1)} %, withheld ${(100 * share(total.withheld, total.controls)).toFixed(1)} % of ${total.controls}`);
  }
  return [
    { metric: "M1 label is Chromium's accessible name", value: share(all.exact, all.asked), count: all.asked, baseline: "97.8 %", goal: 0.98 },
    { metric: "M1 nameless controls with a label", value: share(all.named, all.nameless), count: all.nameless, baseline: "none", goal: 0.85 },
  ];
}

export async function m1b({ root, browser, each, fails }) {
  const cases = tsv(path.join(root, "wpt_accname_cases.tsv"));
  const wanted = [...new Set(cases.map(({ file }) => file))];
  let [right, count] = [0, 0];
  const place = (file) => (file.startsWith("wpt-accname") ? path.join(root, file) : path.join(root, "wpt-accname", file));
  await each(
    "M1b",
    wanted.map((file) => ({ id: file, file })),
    async ({ file }) => {
      const html = bytes(place(file)).toString("utf8").replace(/<script\b[^]*?<\/script>/gi, "");
      const cases = () =>
        [...document.querySelectorAll("[data-expectedlabel]")].map((el) => {
          const found = convizitDescribe(el, el.matches("input,select,textarea") ? "change" : "click");
          return { html: el.outerHTML.slice(0, 400), expected: el.dataset.expectedlabel, got: found && found.labelSource !== "fallback" ? found.label : "" };
        });
      return browser.on(html, (page) => page.evaluate(cases), { type: "text/html; charset=utf-8" });
    },
    ({ file }, found) => {
      for (const { html, expected, got } of found) {
        count++;
        const same = fold(expected) === fold(got);
        right += same;
        if (!same) fails("M1b", { page: file, html, expected, got });
      }
    },
  );
  return [{ metric: "M1b conformance cases", value: share(right, count), count, baseline: "87.8 %", goal: 0.9 }];
}
