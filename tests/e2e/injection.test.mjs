// What a visitor's page says is text in the console, whatever it looks like: more than 500 texts that would run as script where a
// page took them for more, sent by the real tracker as labels, headings, titles, addresses, names and properties; then every page
// of the console is opened as somebody who may see samples.
//   PAGES=1 opens every event's page in place of one in twelve.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { payloads } from "./payloads.mjs";
import { administratorIn } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { Site } from "./site.mjs";

const TABS = 4;
const PER_PAGE = 50;
let [site, running, browser, shop, origin] = [];
/** What ran, or was kept from running. */
const told = [];

before(async () => {
  let shown = "";
  shop = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(shown));
  await new Promise((done) => shop.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${shop.address().port}`;
  site = await Site.make({ origin, sections: { collector: "" } });
  for (const [name, value] of [["filter_bots", "false"], ["crowd", "2"], ["keep_query", '["note"]']]) site.ok("settings", "set", "shop", name, value);
  shown = `<!doctype html><html lang="en"><head><title>Shop</title><script src="${site.collector}/t/${site.key}.js"></script></head><body><main id="place"></main></body></html>`;
  running = await site.serve();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await new Promise((done) => (shop ? shop.close(done) : done()));
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

const accepted = async () => (await running.metrics()).get('convizit_items_total{project="shop",outcome="accepted"}') ?? 0;

/** A visit in which everything that a page can say is a payload. */
async function visit(page) {
  for (let from = 0; from < payloads.length; from += PER_PAGE) {
    await page.goto(`${origin}/part-${from}`);
    await page.waitForFunction(() => window.convizit?.flush);
    await page.evaluate(async (some) => {
      // A page says what it says to the tracker alone: here nothing of it is markup.
      const place = document.getElementById("place");
      const element = (name, text, attributes = {}) => {
        const made = document.createElement(name);
        made.textContent = text;
        for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
        return made;
      };
      for (const { word, text } of some) {
        history.pushState({}, "", `/${encodeURIComponent(text)}?note=${encodeURIComponent(text)}#${encodeURIComponent(text)}`);
        document.title = text;
        window.convizit.page({ note: text, [text]: true });
        const section = element("section", "");
        const button = element("button", text, { type: "button", "data-testid": word, name: text, class: `go-${word}` });
        const link = element("a", `To ${text}`, { href: `https://elsewhere.example/${encodeURIComponent(text)}`, "data-testid": `to-${word}` });
        const choice = element("select", "", { "aria-label": `Choose ${text}`, "data-testid": `choose-${word}` });
        choice.append(element("option", text), element("option", "other"));
        section.append(element("h2", text), button, link, choice);
        place.replaceChildren(section);
        link.addEventListener("click", (event) => event.preventDefault());
        button.click();
        link.click();
        choice.dispatchEvent(new Event("change", { bubbles: true }));
        window.convizit.setProperties({ campaign: text });
        window.convizit.track(text, { value: text, [`key ${text}`]: text });
        window.convizit.setProperties({ campaign: null });
        await new Promise((done) => setTimeout(done));
      }
      window.convizit.flush();
    }, payloads.slice(from, from + PER_PAGE));
    // What waits in the browser is sent batch after batch; a page that goes would leave it for the next.
    await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith("convizit.q.")), null, { timeout: 30_000 });
  }
}

/** Tells of whatever runs in a page, and of what its policy kept from running. */
async function watch(context) {
  await context.exposeBinding("convizitTold", (_, what) => { told.push(what); });
  await context.addInitScript((words) => {
    for (const word of words) window[word] = () => window.convizitTold(`${word} ran at ${location.href}`);
    document.addEventListener("securitypolicyviolation", (event) => window.convizitTold(`the policy kept ${event.violatedDirective} ${event.blockedURI} from running at ${location.href}`));
  }, payloads.map(({ word }) => word));
}

/** Markup that no template of the console has. */
const foreign = () => {
  const found = [];
  const known = "script[src='/static/console.js'],script[src='/static/passkey.js'],link[href='/static/icon.svg'],link[href='/static/console.css'],meta[charset],meta[name=viewport]";
  for (const element of document.querySelectorAll("*")) {
    const odd = element.getAttributeNames().filter((name) => name.startsWith("on") || name === "style" || name === "srcdoc" || name === "ping" || (name === "formaction" && !element.getAttribute(name).startsWith("/p/shop/")));
    if (odd.length || (element.matches("script,link,meta,style,base,iframe,frame,object,embed,applet,template,math,noscript,video,audio") && !element.matches(known))) found.push(element.outerHTML.slice(0, 200));
  }
  for (const element of document.querySelectorAll("a[href],form[action],area[href]")) {
    // Whoever made the table of countries is named, and a vendor's own page beside what its connector asks for.
    if (element.href === "https://db-ip.com/" || (/\/new-destination$/.test(location.pathname) && element.textContent === "The vendor’s page")) continue;
    if (new URL(element.getAttribute("href") ?? element.getAttribute("action"), location).origin !== location.origin) found.push(element.outerHTML.slice(0, 200));
  }
  return { found, text: document.body.innerText + [...document.querySelectorAll("input,textarea")].map((field) => field.value).join("\n"), links: [...document.querySelectorAll("a[href]")].map((link) => link.href) };
};

test("more than 500 texts that would run as script are text on every page", { timeout: 400_000 }, async () => {
  assert.ok(payloads.length >= 500);
  const visitors = await browser.context.newPage();
  await visit(visitors);
  // Another visitor, so that what only a crowd may show is shown.
  await visitors.context().clearCookies();
  await visitors.evaluate(() => localStorage.clear());
  await visit(visitors);
  await until("the events are stored", async () => (await accepted()) >= payloads.length * 4, 60);
  await visitors.close();

  await watch(browser.context);
  const tabs = await Promise.all(Array.from({ length: TABS }, () => browser.context.newPage()));
  for (const tab of tabs) {
    tab.on("console", (message) => { if (message.type() === "error" && !/the server responded with a status of/.test(message.text())) told.push(`${message.text()} at ${tab.url()}`); });
    tab.on("pageerror", (error) => { told.push(`${error} at ${tab.url()}`); });
    tab.on("dialog", (dialog) => { told.push(`a dialog at ${tab.url()}`); dialog.dismiss(); });
  }
  await administratorIn(tabs[0], running);
  const project = `${site.console}/p/shop`;
  const known = new Set([project, `${site.console}/projects`]);
  // Texts that come back from an address.
  for (const { text } of payloads.filter((_, index) => index % 16 === 0)) {
    for (const path of ["events", "audit"]) known.add(`${project}/${path}?like=${encodeURIComponent(text)}`);
  }
  for (const { text } of payloads.filter((_, index) => index % 40 === 0)) known.add(`${site.console}/sign-in?next=${encodeURIComponent(text)}`);
  const queue = [...known];
  const opened = new Map();
  const seen = new Set();
  const markup = [];
  let [alike, busy] = [0, 0];
  const open = async (tab) => {
    for (;;) {
      const next = queue.shift();
      if (!next) {
        if (!busy) return;
        await new Promise((done) => setTimeout(done, 20));
        continue;
      }
      busy++;
      await tab.goto(next, { waitUntil: "load" });
      const { found, text, links } = await tab.evaluate(foreign);
      opened.set(next, text.length);
      markup.push(...found.map((html) => `${next}: ${html}`));
      for (const { word } of payloads) if (text.includes(word)) seen.add(word);
      for (const link of links) {
        const url = link.split("#")[0];
        if (known.has(url) || !url.startsWith(site.console) || /\/(metrics|healthz|readyz)$/.test(url)) continue;
        known.add(url);
        // Of pages that are alike some are opened: of names, and of forms for vendors.
        const isAlike = /\/events\/na_|\/new-destination\?kind=/.test(url);
        if (!isAlike || process.env.PAGES || alike++ % 12 === 0) queue.push(url);
      }
      busy--;
    }
  };
  const began = Date.now();
  await Promise.all(tabs.map(open));
  // What a person types comes back, too: names given, in the history and in the audit log.
  const [tab] = tabs;
  const kinds = [...new Map(payloads.map((payload) => [payload.kind, payload])).values()];
  const names = [...known].filter((url) => /\/events\/na_[^/?]*$/.test(url));
  for (const [index, { text }] of kinds.entries()) {
    await tab.goto(names[index]);
    await tab.fill("#text", text);
    await tab.click("button:has-text('Rename')");
    await tab.waitForLoadState();
    markup.push(...(await tab.evaluate(foreign)).found);
    for (const page of [names[index], `${project}/audit`]) {
      await tab.goto(page);
      markup.push(...(await tab.evaluate(foreign)).found);
    }
  }
  // Handlers that run a moment later.
  await tab.goto(`${project}/samples`);
  await new Promise((done) => setTimeout(done, 3000));
  console.log(`${payloads.length} texts, ${await accepted()} events, ${names.length} names; ${opened.size} pages opened in ${Math.round((Date.now() - began) / 1000)} s; ${seen.size} of the texts seen on them; ${told.length} ran or were kept from it, ${markup.length} became markup`);
  assert.deepEqual(told, []);
  assert.deepEqual(markup, []);
  assert.ok(seen.size >= payloads.length * 0.9, `only ${seen.size} of ${payloads.length} texts came as far as a page: the others prove nothing`);
  for (const part of ["events", "samples", "destinations", "privacy", "members", "settings", "audit", "start"]) assert.ok(opened.has(`${project}/${part}`), part);
});
