// A site with a canary in every place where something private can stand, ordinary traffic on it, and a search: in what the browser sends, in what lies
// on the disk, in logs, metrics, memory and destinations, and in everything that is stored, opened. None may be found; the control must be.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { createServer, request } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { files, startBrowser, until } from "./product.mjs";
import { lastingPort, Site } from "./site.mjs";

const BENCH = path.join(path.dirname(process.env.CONVIZIT_BIN ?? path.resolve(import.meta.dirname, "../../target/ci/convizit")), "convizit-bench");
const LETTERS = "bcdfghjklmnpqrstvwxz";
/** What is ordinary, and must be found in each place: a check that finds nothing has not looked. */
const CONTROL = "compare lumwickets";

// Canaries.

/** Each canary's place, and what of it is searched for. */
const canaries = [];
const letters = (number) => [...Array(5)].map((_, at) => LETTERS[Math.floor(number / LETTERS.length ** at) % LETTERS.length]).join("");
/** Digits that stand in no other number. */
const digits = (number) => `7391${String(number).padStart(5, "0")}`;
const plant = (place, make) => {
  const number = canaries.length;
  const [text, found] = make(number);
  canaries.push({ place, text, found });
  return text;
};
const KINDS = {
  email: (n) => [`qzkvx${letters(n)}@mail.example`, `qzkvx${letters(n)}`],
  phone: (n) => [`+49 ${digits(n).replace(/(...)(...)(...)/, "$1 $2 $3")}`, digits(n)],
  card: (n) => [`4111 ${digits(n)}123`.replace(/(\d{4}) (\d{4})(\d{4})(\d+)/, "$1 $2 $3 $4"), digits(n)],
  secret: (n) => [`sk_live_qzkvx${letters(n)}4f9A2b`, `qzkvx${letters(n)}`],
  greeting: (n) => [`Welcome back, Qzkvx${letters(n)}`, `qzkvx${letters(n)}`],
};
/** A text that its gate must withhold, of each kind in turn; a greeting is known once the page's words are there. */
const text = (place) => plant(place, Object.values(KINDS)[canaries.length % 4]);
const email = (place) => plant(place, KINDS.email);
/** Any word, where nothing is read at all. */
const word = (place) => plant(place, (n) => [`qzkvx${letters(n)}`, `qzkvx${letters(n)}`]);
const number = (place) => plant(place, (n) => [digits(n), digits(n)]);

const FIELDS = ["text", "email", "tel", "password", "search", "url", "number", "date", "time", "month", "hidden"];
const escaped = (value) => value.replace(/[&<"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** What stands in the page, in a shadow root and in a frame alike; `.act` is clicked. */
const part = (where) => {
  const t = (place) => escaped(text(`${where}: ${place}`));
  const w = (place) => escaped(word(`${where}: ${place}`));
  return `
<form class="plain-form" onsubmit="return false">
  ${FIELDS.map((type) => `<label>Field<input class="typed" type="${type}" value="${/number|date|time|month/.test(type) ? "" : w(`${type}, value`)}"></label>`).join("\n  ")}
  <input type="number" class="act" value="${number(`${where}: number, value`)}">
  <textarea class="typed">${w("textarea")}</textarea>
  <input type="checkbox" class="act" value="${w("checkbox, value")}" aria-label="${t("checkbox, aria-label")}">
  <input type="radio" name="r" class="act" value="${w("radio, value")}" aria-label="${t("radio, aria-label")}">
  <select class="choose"><option>One</option><option value="${w("option, value")}">${t("option")}</option></select>
  <input type="range" class="act" aria-valuetext="${w("aria-valuetext")}">
  <button class="act">Send</button>
</form>
<form onsubmit="return false"><label>E-mail<input name="email" class="typed" value="${w("private form, value")}"></label><select class="choose"><option>A</option><option>${w("private form, option")}</option></select><button class="act">Join</button></form>
<div contenteditable="true" class="act">${w("contenteditable")}</div><div contenteditable="plaintext-only" class="act">${w("contenteditable, plain")}</div><div contenteditable="true" class="edited"></div>
<button class="act">${t("button")}</button>
<button class="act" aria-label="${t("aria-label")}">x</button>
<button class="act" title="${t("title")}"></button>
<button class="act"><img alt="${t("alt")}" src="/pixel.png"></button>
<button class="act"><svg width="20" height="20"><title>${t("svg title")}</title><rect width="20" height="20"></rect></svg></button>
<button class="act"><span><b>Ask</b> <i>${t("nested")}</i></span></button>
<button class="act" aria-labelledby="by-${where}">x</button><span id="by-${where}">${t("aria-labelledby")}</span>
<button class="act" id="${escaped(email(`${where}: id`))}">Id</button>
<button class="act ${escaped(email(`${where}: class`))}">Class</button>
<button class="act" name="${escaped(email(`${where}: name`))}">Name</button>
<button class="act" data-owner="${t("data-*")}" data-testid="${t("data-testid")}">Data</button>
<a class="act" href="/p/${encodeURIComponent(email(`${where}: href, path`))}">Path</a>
<a class="act" href="/p/x?mail=${encodeURIComponent(email(`${where}: href, query`))}&amp;q=${w("href, any value")}#${w("href, fragment")}">Query</a>
<a class="act" href="mailto:${email(`${where}: mailto`)}">Write</a>
<a class="act" href="tel:${w("tel")}">Ring</a>
<a class="act" href="javascript:void('${w("javascript address")}')">Run</a>
<section aria-label="${t("section, aria-label")}"><button class="act">In section</button></section>
<section><h2>${t("heading")}</h2><button class="act">Under heading</button></section>
<fieldset><legend>${t("legend")}</legend><button class="act">In set</button></fieldset>
<table><caption>${t("caption")}</caption><tr><td>${t("cell")}</td><td><button class="act">Row</button></td></tr><tr><td>b</td><td><button>Row</button></td></tr><tr><td>c</td><td><button>Row</button></td></tr></table>
<ul aria-label="${t("list, aria-label")}">${[1, 2, 3].map((n) => `<li class="card"><h3>${n === 1 ? t("item, heading") : `Item ${n}`}</h3><img alt="${n === 1 ? t("item, alt") : "picture"}" src="/pixel.png"><p>${n === 1 ? t("item, text") : "text"}</p><button class="${n === 1 ? "act" : ""}">Take</button></li>`).join("")}</ul>
<div role="radiogroup" aria-label="Color"><span role="radio" aria-checked="true" class="act">${t("chosen")}</span></div>
<fieldset><legend>${plant(`${where}: greeting in a legend`, KINDS.greeting)}</legend><label><input type="radio" name="c-${where}" checked>Blue</label><button class="act">Buy</button></fieldset>
<button class="act">${plant(`${where}: greeting`, KINDS.greeting)}</button>
<div><div aria-label="${t("outer list, aria-label")}">${[1, 2, 3].map((n) => `<div class="shelf"><h3>Shelf ${n}</h3><ul aria-label="${n === 1 ? t("inner list, aria-label") : "List"}">${[1, 2, 3].map((m) => `<li><b>Book</b><i>${m}</i><p>text</p><button class="${n + m === 2 ? "act" : ""}">Lend</button></li>`).join("")}</ul></div>`).join("")}</div></div>
<button class="act"><img convizit-ignore="true" alt="${w("alt of an ignored image")}" src="/${w("address of an ignored image")}.png"></button>
<button class="act"><img class="no-track" alt="${w("alt of an excluded image")}" src="/${w("address of an excluded image")}.png"></button>
<details><summary class="act">${t("summary")}</summary><p>${w("details")}</p></details>
<div convizit-ignore="true"><button class="act">${w("ignored")}</button><p>${w("ignored, text")}</p></div>
<div class="no-track"><button class="act">${w("excluded by selector")}</button></div>
<address><a class="act" href="#">${w("address")}</a></address>
<button class="act">Beside <span convizit-ignore="true">${w("ignored, inside a control")}</span></button>
<button class="act">Hidden <span hidden>${w("hidden text")}</span><span style="display:none">${w("text not shown")}</span></button>
<!-- ${w("comment")} --><script type="text/plain">${w("script")}</script><template>${w("template")}</template><noscript>${w("noscript")}</noscript>`;
};

const head = () => `
<title>${escaped(text("title"))}</title>
<meta name="description" content="${word("meta description")}"><meta name="author" content="${word("meta author")}">
<meta property="og:title" content="${escaped(text("og:title"))}"><meta property="og:type" content="product">
<meta property="product:brand" content="${escaped(text("og brand"))}"><meta property="product:retailer_item_id" content="${escaped(email("og item"))}">
<link rel="canonical" href="/shop/${encodeURIComponent(email("canonical, path"))}?id=${word("canonical, query")}">
<script type="application/ld+json">${JSON.stringify([
  { "@type": "Product", name: text("JSON-LD name"), sku: email("JSON-LD sku"), brand: { name: text("JSON-LD brand") }, description: word("JSON-LD description"), category: word("JSON-LD category"), offers: { price: 5, priceCurrency: "EUR", availability: text("JSON-LD availability"), seller: { name: word("JSON-LD seller") } }, review: { author: { name: word("JSON-LD author") }, reviewBody: word("JSON-LD review") } },
  { "@type": "BreadcrumbList", itemListElement: [{ name: "Home" }, { name: text("JSON-LD breadcrumb") }] },
  { "@type": "Person", name: word("JSON-LD person"), email: email("JSON-LD e-mail") },
]).replaceAll("<", "\\u003c")}</script>
<style>.card::before{content:"${escaped(text("CSS content"))}"}</style>`;

let pageHtml;
const made = (snippet) =>
  (pageHtml ??= `<!doctype html><html lang="en"><head><meta charset="utf-8">${head()}${snippet}</head><body>
<header><p><button id="control">${CONTROL}</button></p></header><main><h1>${escaped(text("h1"))}</h1>
<div itemscope itemtype="https://schema.org/Product"><span itemprop="name">${escaped(text("microdata name"))}</span><span itemprop="brand">${escaped(text("microdata brand"))}</span></div>
${part("page")}</main>
<video class="media" title="${escaped(text("video title"))}" src="/${word("media address")}.mp4"></video>
<dialog id="dialog" aria-label="${escaped(text("dialog"))}"><p>${word("dialog text")}</p></dialog>
<div id="host"></div><iframe id="frame" src="/frame.html"></iframe>
<script>
  const shadow = document.querySelector("#host").attachShadow({ mode: "open" });
  shadow.innerHTML = ${JSON.stringify(part("shadow")).replaceAll("<", "\\u003c")};
  localStorage.setItem("user", ${JSON.stringify(word("localStorage"))}); sessionStorage.setItem("user", ${JSON.stringify(word("sessionStorage"))});
  document.cookie = "user=" + ${JSON.stringify(word("cookie"))}; window.name = ${JSON.stringify(word("window.name"))};
  window.dataLayer = [{ user: ${JSON.stringify(word("data layer"))} }]; history.replaceState({ user: ${JSON.stringify(word("history state"))} }, "");
</script></body></html>`);
let frameHtml;
const frame = () => (frameHtml ??= `<!doctype html><html lang="en"><head><title>${word("frame, title")}</title></head><body>${part("frame")}</body></html>`);

// The site, a proxy that keeps what passes, and two destinations.

const servers = [];
const listen = async (handler) => {
  const server = createServer(handler);
  servers.push(server);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server.address().port;
};
const bodyOf = async (incoming) => {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
};

/** What the site's own proxy does to the script: nothing, or it takes a rule away. */
let tamper = (_, body) => body;
const wire = [];
const delivered = [];
let [site, running, browser, origin, proxy, snippet] = [];

before(async () => {
  // Cookies know no port: the site has another host than the collector.
  origin = `http://localhost:${await listen((incoming, answer) => {
    const { pathname } = new URL(incoming.url, "http://site");
    if (pathname === "/api") return answer.end(apiAnswer);
    if (pathname.endsWith(".png") || pathname.endsWith(".mp4")) return answer.writeHead(404).end();
    answer.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(pathname === "/frame.html" ? frame() : made(snippet));
  })}`;
  site = await Site.make({ origin, sections: { log: 'filter = "trace,sqlx=trace"\nformat = "json"', delivery: 'allow_networks = ["127.0.0.0/8"]' } });
  proxy = `http://127.0.0.1:${await listen(async (incoming, answer) => {
    const body = await bodyOf(incoming);
    wire.push(Buffer.from(`${incoming.url}\n${JSON.stringify(incoming.headers)}\n`), body);
    const { "accept-encoding": _, ...headers } = incoming.headers;
    const passed = request(site.collector + incoming.url, { method: incoming.method, headers }, async (from) => {
      const { "content-length": length, ...others } = from.headers;
      answer.writeHead(from.statusCode, others).end(tamper(incoming.url, await bodyOf(from)));
    });
    passed.on("error", () => answer.destroy());
    passed.end(body);
  })}`;
  const receiver = `http://127.0.0.1:${await listen(async (incoming, answer) => {
    delivered.push(Buffer.from(JSON.stringify(incoming.headers)), await bodyOf(incoming));
    answer.writeHead(incoming.url === "/refuses" ? 400 : 204).end();
  })}`;
  site.ok("settings", "set", "shop", "exclude_selectors", '[".no-track"]');
  site.ok("settings", "set", "shop", "exclude_paths", '["/private/*"]');
  site.ok("settings", "set", "shop", "filter_bots", "false");
  for (const name of ["takes", "refuses"]) site.ok("destination", "add", "shop", name, "webhook", "--url", `${receiver}/${name}`, "--processor", "own");
  snippet = readFileSync(path.resolve(import.meta.dirname, "../../tracker/dist/snippet.html"), "utf8").replace("{{origin}}", proxy).replace("{{key}}", site.key);
  running = await site.serve({ role: "collect" });
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await running?.stop("SIGKILL");
  site?.remove();
  for (const server of servers) server.close(), server.closeAllConnections();
});

let apiAnswer = "";

/** What a visitor does who tries everything. */
async function visit() {
  apiAnswer = word("answer of the site's own API");
  const context = browser.context;
  await context.addCookies([{ name: "sid", value: word("cookie of the context"), url: origin }]);
  const page = await context.newPage();
  page.on("dialog", (dialog) => dialog.dismiss());
  const query = `mail=${encodeURIComponent(email("query value"))}&${encodeURIComponent(email("query key"))}=1&q=${word("any query value")}&utm_source=${encodeURIComponent(email("utm value"))}&x=${encodeURIComponent(encodeURIComponent(email("query value, encoded twice")))}`;
  await page.goto(`${origin}/start/${encodeURIComponent(email("path"))}/${encodeURIComponent(encodeURIComponent(email("path, encoded twice")))}/${encodeURIComponent(plant("path, phone", KINDS.phone))}?${query}#${word("fragment")}`, { referer: `${origin}/from/${encodeURIComponent(email("referrer, path"))}?q=${word("referrer, query")}` });
  await page.waitForFunction(() => window.convizit?._ || window.convizit?.track);
  await page.waitForTimeout(600);
  // In one go and by script: a real pointer would take minutes, and what is clicked is all the same to the tracker.
  const acted = await page.evaluate(async ([secrets, numbers]) => {
    const roots = [document, document.querySelector("#host").shadowRoot, document.querySelector("#frame").contentDocument];
    document.addEventListener("click", (event) => event.preventDefault(), true);
    roots[2].addEventListener("click", (event) => event.preventDefault(), true);
    let acted = 0;
    for (const root of roots) {
      for (const el of root.querySelectorAll(".typed,.edited")) {
        el.focus();
        // Dates and times take neither.
        const typed = el.type === "number" ? numbers.pop() : secrets.pop();
        if (el.isContentEditable) el.textContent = typed;
        else el.value = typed;
        for (const type of ["input", "change"]) el.dispatchEvent(new Event(type, { bubbles: true, composed: true }));
        el.click();
        acted++;
      }
      for (const el of root.querySelectorAll(".choose")) {
        el.selectedIndex = 1;
        el.dispatchEvent(new Event("change", { bubbles: true, composed: true }));
        acted++;
      }
      for (const el of root.querySelectorAll(".act")) {
        el.dispatchEvent(new MouseEvent("click", { bubbles: true, composed: true, cancelable: true, detail: 1 }));
        if (/checkbox|radio/.test(el.type)) el.dispatchEvent(new Event("change", { bubbles: true, composed: true }));
        if (++acted % 20 === 0) await new Promise((done) => setTimeout(done, 50));
      }
      for (const form of root.querySelectorAll("form")) form.requestSubmit(), acted++;
    }
    return acted;
  }, [Array.from({ length: 60 }, (_, at) => word(`typed ${at}`)), Array.from({ length: 3 }, (_, at) => number(`typed number ${at}`))]);
  assert.ok(acted > 150, `${acted} actions`);
  const said = Object.fromEntries(["name", "key", "value", "own", "user", "trait", "page", "long"].map((what) => [what, text(`coded: ${what}`)]));
  said.user = email("coded: user id");
  await page.evaluate((said) => {
    const { convizit } = window;
    convizit.track(said.name);
    convizit.track("Order", { [said.key]: 1, Value: said.value, Long: "x".repeat(300) + said.long });
    convizit.setProperties({ Own: said.own });
    convizit.identify(said.user, { mail: said.trait });
    convizit.page({ Page: said.page });
    document.querySelector("#control").click();
  }, said);
  const errors = { thrown: word("error that is thrown"), rejected: word("error that is rejected"), logged: word("error that is logged"), handler: word("error of a handler"), post: word("posted message"), sent: word("body of the site's own request"), picked: word("text that is copied"), route: email("route, path"), routed: word("route, query"), late: text("late title") };
  await page.evaluate(async (errors) => {
    setTimeout(() => { throw new Error(errors.thrown); });
    Promise.reject(new Error(errors.rejected));
    console.error(errors.logged);
    const button = document.querySelector("#control");
    button.addEventListener("click", () => { throw new Error(errors.handler); }, { once: true });
    button.dispatchEvent(new MouseEvent("click", { bubbles: true, detail: 1 }));
    window.postMessage(errors.post, "*");
    await (await fetch("/api?q=" + errors.sent, { method: "POST", body: errors.sent })).text();
    const picked = document.createElement("p");
    picked.textContent = errors.picked;
    document.body.append(picked);
    getSelection().selectAllChildren(picked);
    document.execCommand("copy");
    document.querySelector("#dialog").showModal();
    document.querySelector("#dialog").close();
    await new Promise((done) => setTimeout(done, 800));
    history.pushState({}, "", `/route/${encodeURIComponent(errors.route)}?q=${errors.routed}`);
    document.title = errors.late;
    await new Promise((done) => setTimeout(done, 400));
    button.click();
  }, errors);
  await page.waitForTimeout(700);
  await page.goto(`${origin}/private/${word("excluded path")}`);
  await page.evaluate(() => document.querySelector("#control").click());
  await page.waitForTimeout(2500);
  // Ordinary visits, whatever the crowd rule asks for, and what is kept for a next load.
  await page.goto(`${origin}/plain`);
  await page.waitForTimeout(700);
  await page.click("#control");
  await page.waitForTimeout(1500);
  const kept = await page.evaluate(() => JSON.stringify([Object.entries(localStorage).filter(([name]) => name.startsWith("convizit")), document.cookie.split("; ").filter((one) => one.startsWith("convizit"))]));
  await page.close();
  return kept;
}

// The search.

const byFound = new Map();
/** Canaries in a text as it is, escaped as JSON or in percent (letters and digits stay as they are), with or without what stands between digits. */
function plainly(text) {
  if (byFound.size !== canaries.length) for (const canary of canaries) byFound.set(canary.found, canary);
  const out = new Set();
  for (const [wanted] of text.matchAll(/qzkvx[a-z]{5}/gi)) out.add(byFound.get(wanted.toLowerCase()));
  for (const [wanted] of text.matchAll(/7(?:(?:%20|[ +\-./])?\d){8}/g)) out.add(byFound.get(wanted.replaceAll(/%20|\D/g, "")));
  out.delete(undefined);
  return [...out];
}

/** The same in what is written in base64, from each of its offsets, or in hexadecimal digits. */
function found(bytes) {
  const text = bytes.toString("latin1");
  const out = new Set(plainly(text));
  for (const [run] of text.matchAll(/[A-Za-z0-9+/_-]{14,}/g)) {
    for (let offset = 0; offset < 4; offset++) for (const canary of plainly(Buffer.from(run.slice(offset, 100_000), "base64").toString("latin1"))) out.add(canary);
    if (/^[\da-f]+$/i.test(run)) for (let offset = 0; offset < 2; offset++) for (const canary of plainly(Buffer.from(run.slice(offset), "hex").toString("latin1"))) out.add(canary);
  }
  return [...out];
}

function* memoryOf(pid) {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from, to, , file] = /^(\w+)-(\w+) rw\S* \S+ \S+ \S+\s*(.*)$/.exec(line)?.map((part) => part) ?? [];
      if (!from) continue;
      for (let at = parseInt(from, 16); at < parseInt(to, 16); at += 8 << 20) {
        const bytes = Buffer.alloc(Math.min(8 << 20, parseInt(to, 16) - at));
        try {
          readSync(memory, bytes, 0, bytes.length, at);
        } catch {
          continue;
        }
        yield bytes;
      }
    }
  } finally {
    closeSync(memory);
  }
}

const results = [];
/** Searches a place; the control must be there, but for places that hold no text. */
function search(place, chunks, control = true) {
  let [bytes, seen] = [0, false];
  for (const chunk of chunks) {
    bytes += chunk.length;
    seen ||= chunk.includes("lumwickets");
    const leaks = found(chunk);
    assert.deepEqual(leaks.map((leak) => `${leak.place}: ${leak.text}`), [], `${place} holds canaries`);
  }
  if (control) assert.ok(seen, `${place}: the control is not there, so that nothing was searched (${bytes} bytes)`);
  results.push(`${place}: ${bytes} bytes, control ${control ? "found" : "not expected"}`);
}

const opened = () => {
  const done = spawnSync(BENCH, ["opened", site.folder], { env: { ...process.env, BENCH_FOLDER: site.folder }, maxBuffer: 1 << 30 });
  assert.equal(done.status, 0, done.stderr.toString());
  const places = new Map();
  for (const line of done.stdout.toString().split("\n")) {
    const at = line.indexOf("\t");
    if (at > 0) places.set(line.slice(0, at), `${places.get(line.slice(0, at)) ?? ""}${line.slice(at + 1)}\n`);
  }
  return places;
};

test("no canary leaves the page, and none lies anywhere", async () => {
  const kept = await visit();
  assert.ok(canaries.length >= 300, `${canaries.length} canaries`);
  assert.equal(new Set(canaries.map((canary) => canary.found)).size, canaries.length);
  assert.deepEqual(found(Buffer.from(kept)), [], "the tracker's own storage");
  search("wire, after decompression", wire);
  search("memory of the running collector, as a core dump has it", memoryOf(running.pid));
  const collected = running.log;
  await running.stop("SIGKILL");
  search("files after a kill, as they lie", [...files(site.data)].map(([, bytes]) => bytes), false);
  search("journal, opened", [Buffer.from(opened().get("journal") ?? "")]);

  running = await site.serve();
  await until("both destinations have their say", async () => delivered.length > 2 && (await running.health()).waiting_batches === 0, 30);
  await until("refused events are dead letters", () => JSON.parse(site.ok("destination", "list", "--json")).some((one) => (one.dead ?? one.dead_letters) > 0), 30);
  search("metrics and health", [Buffer.from(JSON.stringify([...await running.metrics(), await running.health()]))], false);
  search("destinations", delivered);
  search("memory of the whole program", memoryOf(running.pid));
  await running.stop();
  search("logs at their loudest", [Buffer.from(collected), Buffer.from(running.log)], false);
  search("files, as they lie", [...files(site.data)].map(([, bytes]) => bytes), false);
  const places = opened();
  for (const place of ["frame", "registry", "sample", "dead letter"]) search(`${place}, opened`, [Buffer.from(places.get(place) ?? "")]);
  search("everything else, opened", [...places.values()].map((text) => Buffer.from(text)), false);
  console.log(`# ${canaries.length} canaries, 0 found\n# ${results.join("\n# ")}`);
});

test("a rule that a tracker has lost is found on the wire, and nowhere else, and the product says so", async () => {
  const before = wire.length;
  const rule = "['email',/";
  tamper = (url, body) => (url.endsWith(".js") ? Buffer.from(body.toString().replace(rule, `${rule}(?!)`)) : body);
  running = await site.serve();
  // The first one has the script in its cache.
  const other = await startBrowser();
  const page = await other.context.newPage();
  await page.goto(`${origin}/again`);
  await page.waitForTimeout(500);
  await page.evaluate(() => document.querySelectorAll(".act").forEach((el, at) => at < 40 && el.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }))));
  await page.waitForTimeout(2500);
  await other.stop();
  const leaks = found(Buffer.concat(wire.slice(before)));
  assert.ok(leaks.length > 3 && leaks.every(({ text }) => text.includes("@")), leaks.map((leak) => leak.place).join());
  const notice = await until("the notice", () => JSON.parse(site.ok("notices", "list", "--json")).find((one) => one.kind === "drift"));
  assert.equal(notice.project, "shop");
  await until("the worker has everything", async () => (await running.health()).waiting_batches === 0);
  search("destinations, of a tracker without the rule", delivered);
  await running.stop();
  search("files, of a tracker without the rule", [...files(site.data)].map(([, bytes]) => bytes), false);
  search("everything opened, of a tracker without the rule", [...opened().values()].map((text) => Buffer.from(text)));
});

test("the search finds what is there, in each form", () => {
  for (const [at, canary] of canaries.entries()) {
    if (at % 25) continue;
    for (const form of [canary.text, encodeURIComponent(canary.text), Buffer.from(canary.text).toString("hex"), JSON.stringify(canary.text), Buffer.from(`a${canary.text}`).toString("base64"), Buffer.from(`ab${canary.text}cd`).toString("base64"), Buffer.from(canary.text).toString("base64")]) {
      assert.ok(found(Buffer.from(`before ${form} after`)).includes(canary), `${canary.place}: ${form}`);
    }
  }
});
