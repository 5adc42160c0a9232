// Sends the events of recorded cases through our connectors, and compares what matters of the requests: where they go, by which method and credential, and
// in which places name, person, time and id stand. The cases hold another product's choices: a difference is to be explained, not to be removed.
// npm run --silent --prefix bench/destinations cases -- --bin target/release/convizit --data ../shared/data

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: args } = parseArgs({ options: { bin: { type: "string" }, data: { type: "string" }, only: { type: "string" }, all: { type: "boolean" } } });
if (!args.data || !args.bin) {
  console.error("wanted: --bin PROGRAM --data FOLDER (its destinations/segment-dev.jsonl holds the cases); --only VENDOR,… takes some, --all prints every difference");
  process.exit(2);
}
const from = process.env.INIT_CWD ?? process.cwd();
const connectors = join(dirname(fileURLToPath(import.meta.url)), "../../crates/delivery/connectors");
const cases = readFileSync(join(resolve(from, args.data), "destinations/segment-dev.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));

/** The names of events as a setting: some connectors know no word for all. */
const named = (events) => ({ names: [...new Set(events.map((event) => event.name))].join(",") });

/** Vendor there → connector here, the actions that are events, and settings with which it sends every name. */
const vendors = {
  amplitude: { id: "amplitude", actions: /^logEvent/ },
  braze: { id: "braze", actions: /^trackEvent/, set: { names: "*" } },
  customerio: { id: "customerio", actions: /^track(Event|PageView)$/ },
  "facebook-conversions-api": { id: "meta_ads", actions: /^(custom|pageView|addToCart|purchase|search|viewContent|initiateCheckout)2?$/, set: named },
  "google-analytics-4": { id: "ga4", actions: /./ },
  heap: { id: "heap", actions: /^trackEvent$/ },
  "heap-cloud": { id: "heap", actions: /^sendEvent$/ },
  hubspot: { id: "hubspot", actions: /^(customEvent|sendCustomBehavioralEvent)$/, set: named },
  intercom: { id: "intercom", actions: /^trackEvent$/ },
  iterable: { id: "iterable", actions: /^trackEvent$/ },
  klaviyo: { id: "klaviyo", actions: /^(trackEvent|orderCompleted)$/, set: { names: "*" } },
  mixpanel: { id: "mixpanel", actions: /^trackEvent$/ },
  posthog: { id: "posthog", actions: /^event$/ },
  segment: { id: "segment", actions: /^send(Track|Page)$/ },
};

const uuid = (number) => `0193a1f0-1b2c-7def-8123-${String(number).padStart(12, "0")}`;
const text = (value) => (typeof value === "string" && value !== "" ? value : undefined);

/** The event of a case in the form in which ours are delivered. What is personal of it, we never have. */
function ours(event, number) {
  const page = event.context?.page ?? {};
  // Some cases have no time that can be read: what is made of them there is another matter.
  const date = [event.timestamp, event.receivedAt].map((text) => new Date(text ?? NaN)).find((one) => !Number.isNaN(one.getTime()));
  const time = (date ?? new Date(0)).toISOString();
  const properties = Object.fromEntries(Object.entries(event.properties ?? {}).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value)));
  return {
    id: uuid(number), project: "shop", source: "convizit", schema: 1,
    name: text(event.event) ?? text(event.name) ?? "View page", name_state: "published",
    type: event.type === "page" ? "page_view" : "click",
    time, received: time, visitor: text(event.anonymousId) ?? uuid(900), session: { id: uuid(901), start: time },
    ...(event.userId ? { user: String(event.userId) } : {}),
    consent: { analytics: true, ads: true, gpc: false },
    page: { url: text(page.url) ?? "https://shop.example/", path: text(page.path) ?? "/", title: text(page.title) ?? "Shop", type: "WebPage", language: text(event.context?.locale)?.slice(0, 2) ?? "en" },
    properties,
    device: { platform: "web", os_name: "Android", os_version: "15", browser: "Chrome", brand: "Pixel" },
    location: { country: "DE" },
  };
}

/** `events[].name` → what stands there, for every leaf. */
function leaves(value, path = "", found = []) {
  if (Array.isArray(value)) for (const one of value) leaves(one, `${path}[]`, found);
  else if (value !== null && typeof value === "object") for (const [key, inner] of Object.entries(value)) leaves(inner, path ? `${path}.${key}` : key, found);
  else found.push([path, value]);
  return found;
}

/** A UUID as the ULID of the same bits. */
function ulid(id) {
  let [bits, text] = [BigInt(`0x${id.replaceAll("-", "")}`), ""];
  for (let letter = 0; letter < 26; letter++, bits >>= 5n) text = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[Number(bits & 31n)] + text;
  return text;
}

/** A place within one event: whether it goes alone or in a list of many is no difference. */
const within = (path) => path.replace(/^(batch|data|events|inputs|users)\[\]\./, "");

/** Places of a value; text of a mapping's constants counts as well as the event's own. */
const places = (found, values) => new Set(found.filter(([, value]) => values.some((wanted) => wanted !== undefined && String(value) === String(wanted))).map(([path]) => within(path)));

/** Places of a time, each with its unit. */
function times(found, wanted) {
  const millis = new Set(wanted.map((time) => Date.parse(time)).filter((time) => !Number.isNaN(time)));
  const units = (value) => {
    if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return [["ISO", Date.parse(value)]];
    const number = typeof value === "number" || /^\d{9,17}$/.test(value) ? Number(value) : NaN;
    return [["s", number * 1000], ["ms", number], ["µs", number / 1000]];
  };
  const near = (time) => [...millis].some((one) => Math.abs(one - time) < 1000);
  return new Set(found.flatMap(([path, value]) => units(value).filter(([, time]) => near(time)).map(([unit]) => `${within(path)} ${unit}`)));
}

/** Constants of a mapping under keys like these. */
const constants = (mapping, keys) => Object.entries(mapping ?? {}).filter(([key, value]) => keys.test(key) && typeof value === "string").map(([, value]) => value);

const hash = (value) => (value === undefined ? undefined : createHash("sha256").update(String(value).trim().toLowerCase()).digest("hex"));

/** What matters of a body: the places of what the event is told apart by. */
function facets(body, event, mapping, own) {
  const found = leaves(body);
  return {
    name: places(found, own ? [event.name] : [event.event, event.name, ...constants(mapping, /event|name/i)]),
    user: places(found, own ? [event.user, hash(event.user)] : [event.userId, hash(event.userId), ...constants(mapping, /^(user|external)_?id$/i)]),
    anonymous: places(found, own ? [event.visitor, hash(event.visitor)] : [event.anonymousId, hash(event.anonymousId), ...constants(mapping, /anonymous|device_id|client_?id/i)]),
    time: times(found, [event.time ?? event.timestamp, ...(own ? [] : [event.receivedAt, ...constants(mapping, /time/i)])]),
    repeats: places(found, own ? [event.id, ulid(event.id)] : [event.messageId, ...constants(mapping, /message_?id|insert_?id|unique_?id|event_?id/i)]),
  };
}

const manifest = (id) => readFileSync(join(connectors, `${id}.toml`), "utf8");
const section = (toml, name) => new RegExp(`^\\[${name}\\]\\n((?:.+\\n)*)`, "m").exec(toml)?.[1] ?? "";
const hostsOf = (toml) => [...section(toml, "hosts").matchAll(/= "https:\/\/([^"/]+)/g)].map(([, host]) => host);

/** How the credential travels: the scheme of `authorization`, else the place. */
function authOf(request) {
  const { authorization, ...headers } = request.headers ?? {};
  if (authorization) return authorization.split(" ")[0].toLowerCase();
  if (Object.keys(headers).some((key) => /api-?key|token/i.test(key))) return "header";
  if (/[?&](api_secret|access_token|api_key)=/.test(request.url)) return "query";
  return leaves(request.json ?? {}).some(([path]) => /(^|\.)(api_key|access_token|app_id)$/.test(path)) ? "body" : undefined;
}
const authHere = (toml) => {
  const auth = section(toml, "auth");
  const kind = /kind = "([^"]+)"/.exec(auth)?.[1];
  return kind === "header" ? (/authorization = "(\S+)/.exec(auth)?.[1].toLowerCase() ?? "header") : kind ?? "body";
};

const folder = mkdtempSync(join(tmpdir(), "convizit-cases-"));
function requestsOf(id, set, events) {
  const sample = JSON.parse(readFileSync(join(connectors, "samples", `${id}.json`), "utf8"));
  const file = join(folder, "events.json");
  writeFileSync(file, JSON.stringify(events));
  const flags = Object.entries({ ...sample.settings, ...set }).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  if (sample.region) flags.push("--region", sample.region);
  const out = execFileSync(resolve(from, args.bin), ["destinations", "--check", join(connectors, `${id}.toml`), "--events", file, "--json", ...flags], { encoding: "utf8", maxBuffer: 1 << 26, stdio: ["ignore", "pipe", "pipe"] });
  return JSON.parse(out);
}

const FACETS = ["host", "path", "method", "credential", "name", "user", "anonymous", "time", "repeats"];
const totals = {};
const differences = new Map();
for (const one of cases) {
  const vendor = vendors[one.destination];
  if (!vendor || !vendor.actions.test(one.action) || (args.only && !args.only.split(",").includes(vendor.id))) continue;
  const built = one.results?.find((result) => result.data?.batch)?.data;
  const expected = one.expected_requests?.find((request) => request.method === "POST") ?? (built && { json: built });
  const total = (totals[vendor.id] ??= { rows: 0, compared: 0, refused: 0, unsent: 0, facets: Object.fromEntries(FACETS.map((facet) => [facet, [0, 0]])) });
  total.rows++;
  if (one.expected_error || !expected) {
    total.refused++;
    continue;
  }
  const events = one.input.events ?? [one.input.event];
  const mine = events.map((event, index) => ours(event, index + 1));
  const { requests } = requestsOf(vendor.id, typeof vendor.set === "function" ? vendor.set(mine) : vendor.set, mine);
  if (requests.length === 0) {
    total.unsent++;
    continue;
  }
  total.compared++;
  const [request] = requests;
  const toml = manifest(vendor.id);
  const there = facets(expected.json ?? {}, events[0], one.input.mapping, false);
  const here = facets(request.body, mine[0], null, true);
  const note = (facet, same, what) => {
    total.facets[facet][same ? 0 : 1]++;
    if (!same) differences.set(`${vendor.id} ${facet}: ${what}`, (differences.get(`${vendor.id} ${facet}: ${what}`) ?? 0) + 1);
  };
  if (expected.url) {
    const url = new URL(expected.url);
    note("host", hostsOf(toml).includes(url.host), `${url.host}, here ${hostsOf(toml)[0]}`);
    const plain = (path) => path.split("?")[0].replace(/\/$/, "");
    // An account's own number in a path is another one here.
    const form = (path) => plain(path).replace(/\/(v?\d[\w.]*|act_\d+)(?=\/|$)/g, "/#");
    note("path", form(url.pathname) === form(request.target), `${plain(url.pathname)}, here ${plain(request.target)}`);
    note("method", expected.method === request.method, `${expected.method}, here ${request.method}`);
    const auth = authOf(expected);
    if (auth) note("credential", auth === authHere(toml), `${auth}, here ${authHere(toml)}`);
  }
  for (const facet of ["name", "user", "anonymous", "time", "repeats"]) {
    if (there[facet].size === 0 || (facet === "user" && !mine[0].user)) continue;
    const same = [...there[facet]].some((place) => here[facet].has(place));
    note(facet, same, `${[...there[facet]].join(", ")}; here ${[...here[facet]].slice(0, 4).join(", ") || "nowhere"}`);
  }
}
rmSync(folder, { recursive: true, force: true });

const share = ([same, other]) => (same + other === 0 ? "" : `${same}/${same + other}`);
console.log(`| vendor | rows | refused there | not sent here | compared | ${FACETS.join(" | ")} |`);
console.log(`|${"---|".repeat(FACETS.length + 5)}`);
for (const [id, { rows, refused, unsent, compared, facets: of }] of Object.entries(totals)) {
  console.log(`| ${id} | ${rows} | ${refused} | ${unsent} | ${compared} | ${FACETS.map((facet) => share(of[facet])).join(" | ")} |`);
}
console.log("\nWhat differs, and in how many rows:");
for (const [what, times] of [...differences].sort((a, b) => b[1] - a[1]).slice(0, args.all ? Infinity : 40)) console.log(`${String(times).padStart(4)} ${what}`);
