// The customizer's overlay: it comes with a token alone, shows what a click would send, keeps the page's clicks from the page and the
// tracker while one chooses, and reads nothing that is typed.
import { assert, behaviour, until } from "./stage.mjs";

/** Makes the closed root visible to the test, and to nobody else in the page's own eyes. */
const open = async ({ context }) => {
  await context.addInitScript(() => {
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (given) {
      window.asked = given.mode;
      return attach.call(this, { ...given, mode: "open" });
    };
  });
};

/** Opens a page as the console does, and waits until its controls are named. */
const arrive = async (visit, name = "cards.html") => {
  await visit.open(`${name}#convizit=1.2.${visit.project.key}`, { wait: false });
  await until("the names", () => visit.project.customizer.some(({ what }) => what === "names"));
  await visit.page.locator("convizit-customizer .legend").waitFor();
  return visit.page.locator("convizit-customizer");
};

const drafts = (visit) => visit.project.customizer.filter(({ what }) => what === "draft").map(({ body }) => body);

behaviour("without a token nothing of it is loaded", {
  do: async (visit) => {
    await visit.withMore();
    assert.equal(visit.project.asked.overlay, undefined);
  },
  expect: () => {},
});

behaviour("the token leaves the address at once, and nothing that is sent holds it", {
  page: false,
  before: async (visit) => {
    await open(visit);
    await visit.context.addInitScript(() => document.addEventListener("DOMContentLoaded", () => { window.seen = location.href; }));
  },
  do: async (visit) => {
    await arrive(visit, "bare-script.html?x=1");
    const { page, project } = visit;
    assert.equal(await page.evaluate(() => location.href), visit.url("bare-script.html?x=1"));
    assert.equal(await page.evaluate(() => window.asked), "closed");
    await visit.settled();
    assert.ok(!JSON.stringify(project.posts).includes("1.2."), "in no batch");
    assert.equal(project.customizer[0].what, "open");
    assert.equal(project.customizer[0].body.first, true);
    assert.ok(project.customizer.every(({ cookie }) => !cookie), "no cookie is sent");
  },
  expect: () => {},
});

behaviour("pointing shows the name, and a click chooses instead of acting", {
  page: false,
  before: open,
  do: async (visit) => {
    const overlay = await arrive(visit);
    const { page } = visit;
    const button = page.locator(".add").nth(2);
    const box = await button.boundingBox();
    await page.mouse.move(box.x + 5, box.y + 5);
    await overlay.locator(".tip").waitFor();
    assert.match(await overlay.locator(".tip").textContent(), /^Add to cart.*Product card, 3 of 4.*Product name: Rain coat/);
    await page.mouse.click(box.x + 5, box.y + 5);
    assert.equal(await overlay.locator("h2").textContent(), "Add to cart");
    assert.match(await overlay.locator("table").textContent(), /Rain coat/);
    assert.match(await overlay.locator("code").textContent(), /button\.add/);
    await page.locator("#two").scrollIntoViewIfNeeded();
    const link = await page.locator("#two").boundingBox();
    await page.mouse.click(link.x + 2, link.y + 2);
    assert.equal(new URL(page.url()).search, "", "the link was not followed");
  },
  // Neither the page's controls nor the overlay's own.
  expect: [],
});

behaviour("the page works, and is captured, when it is used", {
  page: false,
  before: open,
  do: async (visit) => {
    const overlay = await arrive(visit);
    await overlay.locator("text=Use the page").click();
    await visit.page.locator(".add").first().click();
  },
  expect: [{ type: "click", label: "Add to cart" }],
});

behaviour("the keyboard chooses, goes back and ends", {
  page: false,
  before: open,
  do: async (visit) => {
    const overlay = await arrive(visit, "plain.html");
    const { page } = visit;
    await page.locator("#save").focus();
    await overlay.locator(".tip").waitFor();
    await page.keyboard.press("Enter");
    assert.equal(await overlay.locator("h2").textContent(), "Save");
    await page.keyboard.press("Escape");
    await overlay.locator("text=Next control").focus();
    await page.keyboard.press("Enter");
    assert.equal(await overlay.locator("h2").textContent(), "Save");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await overlay.waitFor({ state: "detached" });
    // It does not come back.
    await page.reload();
    await visit.withMore();
    assert.equal(visit.project.asked.overlay, 1);
  },
  expect: [],
});

behaviour("it comes along to the next page of the tab", {
  page: false,
  before: open,
  do: async (visit) => {
    await arrive(visit, "plain.html");
    await visit.page.goto(visit.url("cards.html"));
    await visit.page.locator("convizit-customizer .legend").waitFor();
    await until("it asks again", () => visit.project.customizer.filter(({ what }) => what === "open").length === 2);
    assert.equal(visit.project.customizer.filter(({ what }) => what === "open")[1].body.first, false);
  },
  expect: () => {},
});

behaviour("drafts: saved, refused at the field, and of two the second sees the first", {
  page: false,
  before: open,
  do: async (visit) => {
    const overlay = await arrive(visit);
    const { page, project } = visit;
    const box = await page.locator(".add").first().boundingBox();
    await page.mouse.click(box.x + 5, box.y + 5);
    project.refusals.push({ status: 422, detail: "this text looks private (email): choose a name without it" });
    await overlay.locator("#name").fill("anna@mail.example");
    await overlay.locator("#name").press("Enter");
    await overlay.locator(".wrong").waitFor();
    assert.equal(await overlay.locator("#name").inputValue(), "anna@mail.example", "what was typed stays");
    assert.equal(await overlay.locator("#name").getAttribute("aria-invalid"), "true");
    const { name } = drafts(visit)[0].change;
    project.refusals.push({ status: 409, draft: { subject: name, version: 77, change: { change: "rename", name, text: "Buy" }, own: false, by: "Bob" } });
    await overlay.locator("#name").fill("Basket");
    await overlay.locator("#name").press("Enter");
    await overlay.locator("text=Bob has drafted “Buy” meanwhile").waitFor();
    assert.equal(await overlay.locator("#name").inputValue(), "Basket");
    await overlay.locator("#name").press("Enter");
    await overlay.locator(".said", { hasText: "Saved as a draft" }).waitFor();
    assert.deepEqual(drafts(visit).map(({ seen }) => seen), [0, 0, 77]);
    assert.equal(await overlay.locator("h2").textContent(), "Basket");
    await overlay.locator("[aria-label='Its whole group'] button", { hasText: "Not captured" }).click();
    await until("all four are marked", async () => (await overlay.locator(".box.off.draft").count()) >= 4);
    assert.deepEqual(drafts(visit)[3].change.captured, false);
    assert.match(drafts(visit)[3].change.group, /^gr_/);
  },
  expect: [],
});

behaviour("nothing that is typed into the page is read", {
  page: false,
  before: open,
  do: async (visit) => {
    const overlay = await arrive(visit, "fields.html");
    await overlay.locator("text=Use the page").click();
    for (const field of await visit.page.locator("body > :not(convizit-customizer) input:visible:not([type=checkbox],[type=radio],[type=submit],[type=button],[type=file],[type=range],[type=color],[type=date]), body textarea:visible").all()) await field.fill("31415926").catch(() => {});
    await overlay.locator("text=Choose").first().click();
    const before = visit.project.customizer.length;
    await visit.page.evaluate(() => document.body.append(Object.assign(document.createElement("button"), { textContent: "New here" })));
    await until("the new control is asked for", () => visit.project.customizer.length > before);
    assert.ok(!JSON.stringify(visit.project.customizer).includes("31415926"));
  },
  expect: () => {},
});

behaviour("a strict policy that lets the tracker work lets the overlay work and look as it should", {
  page: false,
  before: open,
  do: async (visit) => {
    const policy = "default-src 'none'; script-src 'self' COLLECTOR; connect-src COLLECTOR; style-src 'self'";
    const overlay = await arrive(visit, `bare-script.html?csp=${encodeURIComponent(policy)}`);
    assert.equal(await overlay.locator(".panel").evaluate((el) => getComputedStyle(el).position), "fixed");
    const box = await visit.page.locator("#go").boundingBox();
    const outline = await overlay.locator(".box").first().boundingBox();
    assert.ok(Math.abs(outline.x - box.x) < 4 && Math.abs(outline.width - box.width) < 8, JSON.stringify([outline, box]));
  },
  expect: [],
});

behaviour("a policy that forbids to ask the collector is named", {
  page: false,
  before: open,
  settle: false,
  do: async (visit) => {
    await visit.open(`bare-script.html?csp=${encodeURIComponent("script-src COLLECTOR; connect-src 'self'")}#convizit=1.2.${visit.project.key}`, { wait: false });
    await visit.page.locator("convizit-customizer .said", { hasText: "add it to connect-src" }).waitFor();
  },
  expect: () => {},
});
