// What is never captured: ignored parts, addresses, exclusions, texts that tell a person.
import { assert, behaviour, until } from "./stage.mjs";

/** Receipts say field, rule, side and version: nothing of the text. */
const receipts = (...some) => (found) =>
  some.every((receipt) => found.some(({ field, rule }) => `${field} ${rule}` === receipt)) &&
  found.every((receipt) => Object.keys(receipt).join() === "field,rule,by,rules" && receipt.by === "browser");
/** What the tracker draws by chance, and the port of the page, may hold any hexadecimal letters and digits: they are left out. */
const drawn = /"(?:id|start|batch|visitor)":"[\da-f.-]+"|(?<=localhost):\d+/g;
const nowhere = (pattern) => (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text.replace(drawn, ""), pattern));

behaviour("nothing inside an ignored part is captured, across shadow roots too", {
  page: "ignored.html",
  do: async (visit) => {
    const { page } = visit;
    await visit.withMore();
    for (const id of ["inside", "button", "send", "show"]) await page.click(`#${id}`);
    await page.selectOption("#select", "B");
    await page.evaluate(() => document.querySelector("#call").addEventListener("click", (event) => event.preventDefault()));
    await page.click("#call");
    await page.click("#deep");
    await page.click("#allowed");
  },
  expect: [{ type: "click", label: "Allowed" }],
  then: nowhere(/Secret|Call us/),
});

behaviour("what mirrors a field to give it its size is read in no way", {
  page: "plain.html",
  do: async ({ page }) => {
    await page.evaluate(() => {
      document.body.insertAdjacentHTML("beforeend", `<ul>${[1, 2, 3].map((at) => `<li><h3>Row ${"ABC"[at - 1]}</h3><div class="box" id="box${at}" tabindex="0"><div style="visibility: hidden; position: absolute">canary typed</div><input size="3"></div></li>`).join("")}</ul>`);
      document.querySelector("#box2").style.padding = "20px";
    });
    await page.click("#box2", { position: { x: 4, y: 4 } });
  },
  expect: [{ type: "click", label: (label) => !/canary/i.test(label) }],
  then: nowhere(/canary/i),
});

behaviour("neighbours that are ignored are not read", {
  page: "ignored.html",
  do: async ({ page }) => {
    await page.click("#neighbour");
    await page.click("#partly");
    await page.click("li:nth-child(2) .buy");
  },
  expect: [
    { type: "click", label: "x", descriptor: { context: [{ kind: "section", name: "" }] } },
    { type: "click", label: "Hello there" },
    { type: "click", label: "Buy", descriptor: { group: { position: 2, length: 3 } } },
  ],
  then: nowhere(/Secret/),
});

behaviour("a text that tells a person is withheld, with a receipt without it", {
  page: "pii.html",
  clock: "paused",
  do: async ({ page }) => {
    await page.click("#mail");
    await page.click("#phone");
    await page.click("#in");
    await page.evaluate(() => document.querySelector("#link").addEventListener("click", (event) => event.preventDefault()));
    await page.click("#link");
    await page.click(".b2");
  },
  expect: [
    { type: "click", label: "", withheld: receipts("element.label email", "page.title email") },
    { type: "click", label: "", withheld: receipts("element.label digits", "page.title email") },
    { type: "click", label: "Repeat order", withheld: receipts("element.section email", "page.title email") },
    { type: "click", label: "Order", descriptor: { attributes: { href: undefined, "data-user": undefined, class: "order-link" } } },
    { type: "click", label: "Profile", descriptor: { attributes: { id: undefined } } },
  ],
  then: (visit) => {
    nowhere(/anna|5999|49151|token|abc/)(visit);
    assert.equal(visit.project.batches[0].page.title, "");
  },
});

behaviour("what a project excludes by selector is neither captured nor read", {
  page: "excluded.html",
  settings: { excludeSelectors: ",.no-track,#other" },
  do: async ({ page }) => {
    await page.click("#inside");
    await page.click("#outside", { position: { x: 5, y: 5 } });
  },
  expect: [{ type: "click", label: "Outside" }],
  then: nowhere(/Hidden/),
});

behaviour("a selector that the browser does not know captures nothing", {
  page: "excluded.html",
  settings: { excludeSelectors: ",:unknown-thing(" },
  do: ({ page }) => page.click("#outside"),
  expect: [],
});

behaviour("an excluded path is silent, the next one is not", {
  settings: { excludePaths: "^(\\/plain.*|\\/account\\/.*)$" },
  ignore: ["web_vital"],
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.silent();
    assert.equal(visit.sent, 0);
    await visit.open("nested.html");
    await visit.page.click("#save");
  },
  expect: [{ type: "page_view", batch: { page: { url: /nested/ } } }, { type: "click" }],
});

behaviour("a route into an excluded path is left, and silent after that", {
  page: "routes.html",
  clock: true,
  settings: { excludePaths: "^(\\/pushed)$" },
  ignore: ["web_vital", "coded"],
  settle: false,
  do: async (visit) => {
    await visit.settled();
    await visit.page.click("#push");
    await visit.page.clock.runFor(1000);
    await visit.page.click("#same");
    await visit.silent();
  },
  expect: (events) => {
    assert.deepEqual(events.filter((event) => !/routes/.test(event.batch.page.url)), []);
    assert.equal(events.at(-1).type, "page_leave");
  },
});

behaviour("a route out of an excluded path tells nothing of it", {
  page: "routes.html",
  settings: { excludePaths: "^(\\/routes.*)$" },
  ignore: ["web_vital"],
  do: async (visit) => {
    await visit.page.click("#push");
    await until("the view", async () => (await visit.settled(), visit.got().some((event) => event.type === "page_view")));
  },
  expect: (events) => assert.deepEqual(events.map((event) => `${event.type} ${new URL(event.batch.page.url).pathname}`), ["page_view /pushed"]),
});

behaviour("query values, fragments and referrers are cleaned", {
  page: "plain.html?utm_source=news&email=anna@mail.example&token=abc123#secret-part",
  ignore: ["page_leave", "web_vital"],
  do: async (visit) => {
    await visit.page.evaluate(() => document.body.insertAdjacentHTML("beforeend", "<a id=go href='/nested.html'>Go</a>"));
    await visit.page.click("#go");
    await visit.page.waitForURL(/nested/);
    await visit.page.waitForFunction(() => window.convizit?._);
  },
  expect: (events) => {
    assert.match(events[0].batch.page.url, /plain\.html\?utm_source=news&email&token$/);
    assert.match(events.at(-1).batch.page.referrer, /^http:\/\/s\d+x\.localhost:\d+\/plain\.html(\?utm_source=news&email&token)?$/);
  },
  then: nowhere(/anna|abc123|secret-part/),
});

behaviour("fields whose names hide the form's own properties do not stop capture", {
  page: "clobbered.html",
  do: ({ page }) => page.click("#go"),
  expect: [{ type: "click", label: "Go" }, { type: "submit", role: "form" }],
});

behaviour("what a style sheet repeats of a field, to give it its size, is read no more than the field", {
  page: "repeated.html",
  do: ({ page }) => page.click("#write"),
  expect: [{ type: "click", role: "button", label: "Write" }],
});

const place = { field: "element.label", rule: "private_place", by: "browser", rules: 2 };

behaviour("until the words of the page's language are there, nothing in an account is read", {
  page: "account.html",
  more: "late",
  do: async ({ page }) => {
    for (const id of ["menu", "beside", "plain"]) await page.click("#" + id);
  },
  expect: [
    { type: "click", label: "", descriptor: { tag: "button", attributes: { id: "menu" } }, withheld: [place] },
    { type: "click", label: "Save", descriptor: { context: [{ kind: "section", name: "" }] } },
    { type: "click", label: "Buy" },
  ],
  then: nowhere(/Orders|Grace/),
});

behaviour("with them names and addresses are told from other texts", {
  page: "account.html",
  do: async (visit) => {
    await visit.withMore();
    for (const id of ["menu", "hello", "ship"]) await visit.page.click("#" + id);
  },
  expect: [
    { type: "click", label: "Orders" },
    { type: "click", label: "", withheld: [{ field: "element.label", rule: "person" }] },
    { type: "click", label: "", withheld: [{ field: "element.label", rule: "address" }] },
  ],
  then: nowhere(/Grace|Baker/),
});

for (const lang of ["", "xx", "en-GB"]) {
  behaviour(`a page whose language is ${lang || "not said"} ${lang === "en-GB" ? "is" : "is not"} known`, {
    page: "account.html",
    before: async ({ context }) => context.addInitScript((lang) => document.addEventListener("readystatechange", () => (document.documentElement.lang = lang), { once: true }), lang),
    do: async (visit) => {
      await visit.withMore();
      await visit.page.click("#menu");
    },
    expect: [{ type: "click", label: lang === "en-GB" ? "Orders" : "" }],
  });
}

behaviour("what a site says passes the gate too, but for the traits that it allows", {
  settings: { traits: ["email"] },
  do: ({ page }) =>
    page.evaluate(() => {
      window.convizit.setProperties({ Seat: "anna@mail.example" });
      window.convizit.track("Order", { Contact: "+49 151 5999 8877", email: "anna@mail.example", Step: 2, Plan: "Team" });
      window.convizit.identify("u17", { email: "kept@mail.example", phone: "+49 151 5999 8877", plan: "Team" });
    }),
  expect: [
    { type: "coded", properties: { Step: 2, Plan: "Team", email: undefined, Contact: undefined, Seat: undefined }, withheld: receipts("properties.Contact digits", "properties.email email") },
    { type: "identify", properties: { email: "kept@mail.example", plan: "Team", phone: undefined }, withheld: receipts("properties.phone digits") },
  ],
  then: nowhere(/anna@|5999/),
});
