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

// Controls that say nothing are called by what their author called them: no address of a script, no class of a build.
face(() => {
  const controls = {
    "Share email": `<a href="javascript:void(0)" class="share-email x1y2z3"></a>`,
    Tel: `<a href="tel:+43123456"></a>`,
    Returns: `<a href="/help/returns?from=1"></a>`,
    Pricing: `<a href="#pricing"></a>`,
    "Navigation drawer category list mobile header btn": `<button class="navigation-drawer-category-list-mobile__header-btn"></button>`,
    "Card button": `<button class="card-button_a8Xk2"></button>`,
    "": `<button class="css-1x2y3z"></button>`,
  };
  return Object.entries(controls).map(([label, html]) => {
    document.body.insertAdjacentHTML("beforeend", html);
    const found = globalThis.convizitDescribe(document.body.lastElementChild);
    document.body.lastElementChild.remove();
    return [label, found];
  });
}, (found) => {
  for (const [label, descriptor] of found) holds(descriptor, { label, labelSource: "fallback" }, `called ${label || "nothing"}`);
});

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

// What a page without data of its own shows.
face(() => {
  const head = `<header><a href=/>Shop</a> <a href=/cart>Cart (2)</a> <b>$7.00</b></header>`;
  const product = `<h1>Trail shoe</h1><p><s>$120.00</s> <span>$89.90</span></p><p>Item no.: <b>48-1213</b></p><p class=stock>Sold out<span hidden>In stock</span></p>`;
  const related = `<section><h2>Others bought</h2><div><h3><a href=/p/hat>Wool hat</a></h3>$25.00 <button>Add to cart</button></div></section>`;
  const bodies = {
    product: `${product}<button>Add to cart</button>${related}`,
    hidden: `<h1>Trail shoe</h1><p style="display:none">$1.00</p><p>49,90 €</p><p convizit-ignore>Item no. 991199</p><button>In den Warenkorb</button>`,
    parts: `<h1>Trail shoe</h1><div class=price><sup>$</sup><span>12</span><sup>99</sup></div><button>Add to cart</button>`,
    list: `<h1>Shoes</h1><ul><li><a href=/p/1><img alt="One"></a>$10.00<button>Add to cart</button></li><li><a href=/p/2><img alt="Two"></a>$20.00<button>Add to cart</button></li></ul>`,
    article: `<h1>How we spent $500 on shoes</h1><p>The first pair was $200.00 and the second one, item no. 48-1213, was cheaper.</p><a href=/buy>Buy the book</a>`,
    cart: `<h1>Your cart</h1><table><tr><td><a href=/p/1><img alt="One"></a></td><td>$10.00</td><td><button>Remove</button></td></tr></table><p>Total $10.00</p><button>Buy now</button>`,
    plain: `<h1>About us</h1><p>Since 1998</p>`,
  };
  const out = {};
  for (const [name, body] of Object.entries(bodies)) {
    document.body.innerHTML = head + body;
    out[name] = globalThis.convizitPage().product ?? null;
  }
  return out;
}, (found) => assert.deepEqual(found, {
  product: { "Product name": "Trail shoe", "Product price": 89.9, SKU: "48-1213", Availability: "OutOfStock" },
  hidden: { "Product name": "Trail shoe", "Product price": 49.9, Availability: "InStock" },
  parts: { "Product name": "Trail shoe", "Product price": 12.99, Availability: "InStock" },
  list: null,
  article: null,
  cart: null,
  plain: null,
}), "plain.html");

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
