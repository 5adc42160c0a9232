// Holds the requests that connectors make of the sample events against the vendors' own descriptions of their interfaces.
// npm run --silent --prefix bench/destinations check -- --bin target/release/convizit --data ../shared/data

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Ajv from "ajv/dist/2020.js";
import { parse } from "yaml";

const { values: args } = parseArgs({ options: { bin: { type: "string" }, data: { type: "string" }, only: { type: "string" } } });
if (!args.data) {
  console.error("--data FOLDER is missing: the folder whose destinations/specs holds the descriptions (and --bin PROGRAM, else samples are read)");
  process.exit(2);
}
const from = process.env.INIT_CWD ?? process.cwd();
const specs = join(resolve(from, args.data), "destinations/specs");
const connectors = join(dirname(fileURLToPath(import.meta.url)), "../../crates/delivery/connectors");

/** Vendor → its description; `add`: what credentials put into bodies; `variants`: further settings; `parts`: what the description leaves loose. */
const vendors = {
  mixpanel: { spec: "mixpanel-ingestion.openapi.yaml" },
  amplitude: { spec: "amplitude-http-v2.openapi.yml", add: { api_key: "k" }, variants: [{ visitor_as: "user_id" }] },
  braze: { spec: "braze.openapi.yml" },
  customerio: { spec: "customerio-track.openapi.json" },
  hubspot: { spec: "hubspot-send-event-completions.v3.json" },
  intercom: { spec: "intercom-2.16.yaml" },
  klaviyo: { spec: ["klaviyo-bulk-create-events.2026-07-15.json", "klaviyo-create-event.2026-07-15.json"] },
  mparticle: {
    spec: "mparticle-events.openapi.yml",
    // It says that attributes are objects, where the vendor's pages and examples have texts and numbers.
    mend: (doc) => (doc.components.schemas.Batch.properties.user_attributes = { type: "object" }),
    parts: (body) => body.flatMap((batch) => batch.events ?? []).map((event) => [{ custom_event: "CustomEvent", screen_view: "ScreenViewEvent" }[event.event_type], event]),
  },
  segment: { spec: "segment-http-tracking.openapi.yml", parts: segmentCalls },
  rudderstack: { spec: "segment-http-tracking.openapi.yml", parts: segmentCalls },
  snowplow: { iglu: true, variants: [{ schema_vendor: "com.example" }] },
};

function segmentCalls(body) {
  return body.batch.map((call) => [{ track: "TrackCall", page: "PageCall", identify: "IdentifyCall" }[call.type], call]);
}

const formats = {
  "date-time": (text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text)),
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
  uri: (text) => URL.canParse(text),
};

const newAjv = () => {
  const ajv = new Ajv({ strict: false, validateSchema: false, allErrors: true, logger: false });
  for (const [name, form] of Object.entries(formats)) ajv.addFormat(name, form);
  return ajv;
};

/** OpenAPI 3.0 says some things otherwise than JSON Schema. */
const asSchema = (value) => {
  if (Array.isArray(value)) return value.map(asSchema);
  if (value === null || typeof value !== "object") return value;
  const made = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asSchema(inner)]));
  for (const [flag, bound] of [["exclusiveMinimum", "minimum"], ["exclusiveMaximum", "maximum"]]) {
    if (typeof made[flag] !== "boolean") continue;
    if (made[flag]) made[flag] = made[bound];
    else delete made[flag];
  }
  if (made.nullable === true && made.type === undefined) delete made.nullable;
  return made;
};

const pointer = (...steps) => "#" + steps.map((step) => "/" + encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1"))).join("");

/** Validators of one OpenAPI document: of a request's body, and of a schema by its name. */
const openDocument = (file, mend) => {
  const text = readFileSync(join(specs, file), "utf8");
  const doc = asSchema(file.endsWith(".json") ? JSON.parse(text) : parse(text, { maxAliasCount: -1 }));
  mend?.(doc);
  const ajv = newAjv();
  ajv.addSchema(doc, "doc");
  const bases = ["", ...(doc.servers ?? []).map((server) => server.url.replace(/^https?:\/\/[^/]*/, "").replace(/\/$/, ""))];
  const kept = new Map();
  const compiled = (ref) => {
    if (!kept.has(ref)) kept.set(ref, ajv.compile({ $ref: "doc" + ref }));
    return kept.get(ref);
  };
  return {
    body: (request) => {
      const target = decodeURI(request.target.split("?")[0]);
      const method = request.method.toLowerCase();
      for (const [path, methods] of Object.entries(doc.paths)) {
        const form = new RegExp("^" + path.replace(/\/$/, "").split(/\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[^/]+") + "/?$");
        if (!methods[method] || !bases.some((base) => target.startsWith(base) && form.test(target.slice(base.length)))) continue;
        const content = methods[method].requestBody?.content ?? {};
        const type = [request.headers["content-type"], ...Object.keys(content)].find((one) => content[one]?.schema);
        if (type) return compiled(pointer("paths", path, method, "requestBody", "content", type, "schema"));
      }
      return null;
    },
    schema: (name) => (name ? compiled(pointer("components", "schemas", name)) : null),
  };
};

/** `iglu:vendor/name/jsonschema/1-0-0` → validator. */
const iglu = () => {
  const kept = new Map();
  return (uri) => {
    if (!kept.has(uri)) {
      const [, vendor, name, , version] = uri.match(/^iglu:([^/]+)\/([^/]+)\/([^/]+)\/(.+)$/) ?? [];
      const own = join(connectors, "snowplow", `event-${version}.json`);
      const file = vendor === "com.snowplowanalytics.snowplow" ? join(specs, "iglu", `${name}.${version}.json`) : own;
      if (!existsSync(file)) return null;
      const { $schema: _, self: __, ...schema } = JSON.parse(readFileSync(file, "utf8"));
      kept.set(uri, newAjv().compile(schema));
    }
    return kept.get(uri);
  };
};

const requestsOf = (id, more) => {
  const sample = JSON.parse(readFileSync(join(connectors, "samples", `${id}.json`), "utf8"));
  if (!args.bin) return more ? null : sample.makes;
  const settings = { ...sample.settings, ...more };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  if (sample.region) flags.push("--region", sample.region);
  const out = execFileSync(resolve(from, args.bin), ["destinations", "--check", join(connectors, `${id}.toml`), "--json", ...flags], { encoding: "utf8", maxBuffer: 1 << 26, stdio: ["ignore", "pipe", "pipe"] });
  return JSON.parse(out);
};

/** What one vendor's requests are held against: [validator or null, value, what it is]. */
const checksOf = (vendor, requests) => {
  const checks = [];
  if (vendor.iglu) {
    const find = iglu();
    const selfDescribing = (value, what) => {
      checks.push([find(value.schema), value.data, `${what} ${value.schema}`]);
      if (/\/unstruct_event\//.test(value.schema)) selfDescribing(value.data, what);
      if (/\/contexts\//.test(value.schema)) for (const one of value.data) selfDescribing(one, what);
    };
    for (const { body } of requests) {
      selfDescribing(body, "payload");
      for (const event of body.data) for (const key of ["ue_pr", "co"]) if (event[key]) selfDescribing(JSON.parse(event[key]), key);
    }
    return checks;
  }
  const documents = [vendor.spec].flat().map((file) => openDocument(file, vendor.mend));
  for (const request of requests) {
    const body = vendor.add && !Array.isArray(request.body) ? { ...vendor.add, ...request.body } : request.body;
    const found = documents.map((document) => document.body(request)).find((one) => one);
    checks.push([found ?? null, body, `${request.method} ${request.target}`]);
    for (const [name, part] of vendor.parts?.(body) ?? []) checks.push([documents[0].schema(name), part, name ?? "a part of a kind that is not described"]);
  }
  return checks;
};

let failed = false;
for (const [id, vendor] of Object.entries(vendors)) {
  if (args.only && !args.only.split(",").includes(id)) continue;
  if (!existsSync(join(connectors, `${id}.toml`))) {
    console.log(`${id.padEnd(12)} no manifest`);
    continue;
  }
  const wrong = [];
  let bodies = 0;
  let events = 0;
  let checked = 0;
  try {
    for (const more of [undefined, ...(vendor.variants ?? [])]) {
      const made = requestsOf(id, more);
      if (!made) continue;
      if (made.requests.length === 0) wrong.push("it makes no request");
      bodies += made.requests.length;
      events += made.requests.flatMap((request) => request.events).length;
      for (const [validate, value, what] of checksOf(vendor, made.requests)) {
        checked += 1;
        if (!validate) wrong.push(`${what}: not described`);
        else if (!validate(value)) wrong.push(...validate.errors.slice(0, 5).map((error) => `${what}: ${error.instancePath || "/"} ${error.message}`));
        // A description that takes anything proves nothing.
        else if (validate(17)) wrong.push(`${what}: its description takes anything`);
      }
    }
  } catch (error) {
    wrong.push(String(error.stderr || error.message).trim().split("\n").slice(0, 3).join(" "));
  }
  failed ||= wrong.length > 0;
  console.log(`${id.padEnd(12)} ${bodies} requests, ${events} events, ${checked} checks: ${wrong.length === 0 ? "valid" : `${wrong.length} WRONG`}`);
  for (const line of [...new Set(wrong)].slice(0, 20)) console.log(`  ${line}`);
}
process.exit(failed ? 1 : 0);
