// Groups: position, length, the record's own texts, what is chosen around the control.
import { assert, behaviour } from "./stage.mjs";

behaviour("a button in a card knows its card, its place and what is chosen", {
  page: "cards.html",
  do: ({ page }) => page.click("li:nth-child(1) .add"),
  expect: [{
    type: "click",
    label: "Add to cart",
    descriptor: {
      group: { position: 1, length: 4, container: "Recommended products", member: "product-card", path: "button", signature: (hashes) => hashes.length > 3 && hashes.every(Number.isInteger) },
      properties: { "Product name": "Trail shoe", "Product price": 89.9, Currency: "USD", "Selected color": "Red", Quantity: 1 },
    },
  }],
});

behaviour("every card has the same group and another place", {
  page: "cards.html",
  do: async ({ page }) => {
    for (const at of [1, 2, 3, 4]) await page.click(`li:nth-child(${at}) .add`);
  },
  expect: (events) => {
    assert.deepEqual(events.map((event) => event.descriptor.group.position), [1, 2, 3, 4]);
    assert.equal(new Set(events.map((event) => String(event.descriptor.group.signature))).size, 1);
    assert.deepEqual(events.map((event) => event.descriptor.properties["Product name"]), ["Trail shoe", "Wool hat", "Rain coat", "Belt"]);
  },
});

behaviour("what is chosen is read before the click's handlers", {
  page: "cards.html",
  do: async ({ page }) => {
    await page.selectOption("li:nth-child(2) select", "2");
    await page.evaluate(() => document.querySelector("li:nth-child(2) .add").addEventListener("click", () => { document.querySelector("li:nth-child(2) select").selectedIndex = 0; }));
    await page.click("li:nth-child(2) .add");
  },
  ignore: ["page_view", "page_leave", "web_vital", "change"],
  expect: [{ type: "click", descriptor: { properties: { "Product name": "Wool hat", "Product price": 25, Quantity: 2 } } }],
});

behaviour("a link of a page list has its place", {
  page: "cards.html",
  do: async ({ page }) => {
    await page.evaluate(() => document.querySelector("#two").addEventListener("click", (event) => event.preventDefault()));
    await page.click("#two");
  },
  expect: [{ type: "click", label: "2", descriptor: { group: { position: 2, length: 3, container: "Pages" } } }],
});

behaviour("a button in a table row has its row", {
  page: "table.html",
  do: ({ page }) => page.click("#hat"),
  expect: [{ type: "click", label: "Return", descriptor: { group: { position: 2, length: 3 }, context: [{ kind: "table", name: "Orders" }, { kind: "main" }] } }],
});

behaviour("a row of cells is called by its first, not by all of them", {
  page: "table.html",
  do: ({ page }) => page.click("#hat"),
  expect: [{ type: "click", label: "Return", descriptor: { properties: { "Product name": "Hat", "Product price": 20 } } }],
});

behaviour("an entry of a menu within a menu has its place in the inner one, and the outer one's", {
  page: "menu.html",
  do: async ({ page }) => {
    for (const id of ["dresses", "jeans", "men"]) await page.click("#" + id);
  },
  expect: [
    { type: "click", label: "Dresses", descriptor: { group: { position: 1, length: 3 }, outer: { position: 1, length: 3, container: "Main" } } },
    { type: "click", label: "Jeans", descriptor: { group: { position: 2, length: 3 }, outer: { position: 2, length: 3, container: "Main" } } },
    { type: "click", label: "Men", descriptor: { group: { position: 2, length: 3, container: "Main" }, outer: undefined } },
  ],
});

behaviour("the number before a price is none", {
  page: "table.html",
  do: async ({ page }) => {
    await page.click("#sock");
    await page.click("#cap");
  },
  expect: [
    { type: "click", label: "Remove", descriptor: { group: { position: 1, length: 6 }, properties: { "Product price": 4.5, Currency: "EUR" } } },
    { type: "click", label: "Remove", descriptor: { group: { position: 2, length: 6 }, properties: { "Product price": 19.99, Currency: "EUR" } } },
  ],
});

behaviour("records of several siblings are one group", {
  page: "table.html",
  do: ({ page }) => page.click("#q"),
  expect: [{ type: "click", label: "Question one", descriptor: { group: { position: 1, length: 2 } } }],
});

behaviour("what is chosen on a product's page goes with its button", {
  page: "product.html",
  do: ({ page }) => page.click("#add"),
  expect: [{ type: "click", label: "Add to cart", descriptor: { properties: { "Selected size": "42", Quantity: 2 } } }],
  then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /canary/)),
});

behaviour("a control far down a very long list has its place", {
  page: "huge.html",
  do: ({ page }) => page.evaluate(() => document.querySelector("#middle").click()),
  expect: [{ type: "click", label: "Open", descriptor: { group: { position: 1501, length: 3000 } } }],
});
