// dist/describe.js: the capture code as anybody can measure it from outside.
import { readFileSync } from "node:fs";
import path from "node:path";
import { assert, behaviour, holds } from "./stage.mjs";

const script = readFileSync(path.resolve(import.meta.dirname, "../../dist/describe.js"), "utf8");

const faces = [];
const face = (run, check, page = "describe.html") => faces.push([run, check, page]);

face(() => globalThis.convizitDescribe(document.querySelector("#save span")), (found) =>
  holds(found, { role: "button", label: "Save (3)", labelSource: "content", template: "Save", name_value: 3, context: [{ kind: "main" }], group: null, properties: {}, attributes: { id: "save" }, path: "main>button" }, "descriptor"));

face(() => globalThis.convizitDescribe(document.querySelector("#icon")), (found) => holds(found, { label: "Search", labelSource: "fallback" }, "descriptor"));

face(() => ["#size", "#gift", "#name", "#hidden"].map((selector) => ["click", "change"].map((type) => globalThis.convizitDescribe(document.querySelector(selector), type))), (found) => {
  const [size, gift, name, hidden] = found;
  for (const [click] of found) assert.equal(click, null);
  holds(size[1], { role: "combobox", label: "Size" }, "select");
  holds(gift[1], { role: "checkbox", label: "Gift" }, "checkbox");
  holds(name[1], { role: "textbox", label: "Your name" }, "field");
  assert.equal(hidden[1], null);
  assert.doesNotMatch(JSON.stringify(found), /canary/);
});

face(() => {
  const found = globalThis.convizitGroup(document.querySelector("#b"));
  return { ...found, items: found.items.map((item) => `${item.localName} ${item.textContent}`), none: globalThis.convizitGroup(document.querySelector("#save")), ignored: globalThis.convizitGroup(document.querySelector("#hidden")) };
}, (found) => assert.deepEqual(found, { items: ["li Alpha", "li Beta", "li Gamma"], position: 2, length: 3, none: null, ignored: null }));

face(() => globalThis.convizitPage(), (found) => holds(found, { url: /product\.html$/, title: "Product", language: "en", type: "Product", product: { "Product name": "Trail shoe", "Product price": 89.9, Brand: "Summit" }, breadcrumb: ["Shoes", "Trail"] }, "page"), "product.html");

face(() => [globalThis.convizitDescribe(null), globalThis.convizitGroup(undefined)], (found) => assert.deepEqual(found, [null, null]));

for (const javaScriptEnabled of [true, false]) {
  behaviour(`the faces of dist/describe.js, page scripts ${javaScriptEnabled ? "on" : "off"}`, {
    page: false,
    context: { javaScriptEnabled },
    settle: false,
    do: async (visit) => {
      let open;
      for (const [run, check, page] of faces) {
        if (page !== open) {
          await visit.open(page, { wait: false });
          await visit.page.evaluate(script);
          open = page;
        }
        check(await visit.page.evaluate(run));
      }
    },
    expect: () => {},
  });
}
