// Credentials of every connector are in no log, metric, answer, page, command's output, dead letter, preview or byte on disk, though each receiver quotes what it was given.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { administrator } from "../person.mjs";
import { files, startPostgres } from "../product.mjs";
import { Site, folder, until } from "../site.mjs";

/** Stands in every credential; of letters that each form of a key takes. */
const MARK = "ca4a41beef";
const CONNECTORS = path.resolve(import.meta.dirname, "../../../crates/delivery/connectors");
const PEM = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" });

let number = 0;
/** 36 letters of which keys are made. */
const secret = () => (MARK + String(++number).padStart(4, "0")).padEnd(36, MARK);
const google = () => JSON.stringify({ client_email: "convizit@shop.example", private_key: PEM, note: secret() });
/** Secrets that have a form of their own. */
const FORMS = {
  azure_blob: { sas: () => `sv=2024-01-01&sig=${secret()}` },
  bigquery: { key: google },
  gcs: { key: google },
  google_ads: { key: google },
  klaviyo: { key: () => `pk_${secret()}` },
  nats: { credentials: () => "" },
  posthog: { api_key: () => `phc_${secret()}` },
  pubsub: { key: google },
  slack: { webhook: () => `T0SHOP/B0SHOP/${secret()}` },
  snowflake: { key: () => PEM },
};

/** What receivers do: `take` everything, or refuse it, quoting. */
let mode = "take";
/** What came to each connector's receiver with a credential in it, and how often that was quoted. */
const came = new Map();
let quoted = 0;

const servers = [];
const listen = (server, ports = [0]) => new Promise((done) => server.listen(ports[0], "127.0.0.1", () => { servers.push(server); done(server.address().port); }));

/** The pieces of a text in which a credential stands, packed or not, and the credential's header whole. */
function quote(id, text, authorization = "") {
  const plain = authorization.split(" ").map((word) => `${word} ${Buffer.from(word, "base64").toString("latin1")}`).join(" ");
  const found = [...`${text} ${plain}`.matchAll(new RegExp(`.{0,9}${MARK}.{0,26}`, "g"))].map(([piece]) => piece);
  if (found.length > 0) came.set(id, (came.get(id) ?? 0) + 1);
  if (found.length > 0 || authorization) quoted++;
  return `you gave ${[...new Set(found)].slice(0, 2).join(" ")} ${authorization.slice(0, 160)}`;
}

const STATUS = { take: 200, busy: 503, refuse: 400, deny: 401 };

/** A vendor over HTTP. */
function vendor(id) {
  return listen(createServer((request, answer) => {
    const parts = [];
    request.on("data", (part) => parts.push(part)).once("end", () => {
      let body = Buffer.concat(parts);
      if (body[0] === 0x1f && body[1] === 0x8b) body = gunzipSync(body);
      const headers = Object.entries(request.headers).map(([name, value]) => (name === "authorization" ? "" : value)).join(" ");
      const said = quote(id, `${decodeURIComponent(request.url.replaceAll("+", " "))} ${headers} ${decodeURIComponent(body.toString("latin1").replaceAll("%", "%25"))}`, request.headers.authorization);
      const json = (status, value) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
      if (request.url.startsWith("/token")) {
        if (mode === "tokens") json(400, { error: said, error_description: said });
        else json(200, { access_token: `${MARK}-token-of-${id}`, expires_in: 3600 });
        return;
      }
      json(STATUS[mode] ?? 400, { message: said, error: { message: said }, reason: said });
    });
  }));
}

/** What a server of another protocol says at first, and to what it gets; `quotes` is what it was given. */
const PROTOCOLS = {
  redis: {
    says: (bytes, quotes) => (mode === "take" ? "+OK\r\n" : `-ERR you gave ${quotes}\r\n`),
  },
  nats: {
    first: 'INFO {"headers":true,"jetstream":true,"max_payload":1048576}\r\n',
    says: (bytes, quotes) => (mode !== "take" ? `-ERR 'you gave ${quotes}'\r\n` : bytes.includes("PING") ? "PONG\r\n" : ""),
  },
  mqtt: {
    says: (bytes, quotes) => {
      if (bytes[0] !== 0x10) return "";
      if (mode === "take") return Buffer.from([0x20, 3, 0, 0, 0]);
      const text = Buffer.from(quotes.slice(0, 60));
      const properties = Buffer.concat([Buffer.from([0x1f, 0, text.length]), text]);
      return Buffer.concat([Buffer.from([0x20, 3 + properties.length, 0, 0x80, properties.length]), properties]);
    },
  },
  kafka: { says: brokerSays },
  amqp: { says: rabbitSays },
  mysql: {
    // Version 10, a salt, CLIENT_PROTOCOL_41 and a plug-in that sends a digest of the password.
    first: mysqlPacket(0, Buffer.concat([Buffer.from("\x0a8.0.0\0\x01\0\0\0abcdefgh\0", "latin1"), Buffer.from([0xff, 0xf7, 33, 2, 0, 0xff, 0x81, 21]), Buffer.alloc(10), Buffer.from("ijklmnopqrst\0mysql_native_password\0")])),
    says: (bytes, quotes) => mysqlPacket(2, Buffer.concat([Buffer.from([0xff, 0x15, 4]), Buffer.from(`#28000you gave ${quotes}`)])),
  },
  postgres: {
    says: (bytes, quotes) => {
      // Asks for the password in clear, then quotes it.
      if (bytes.readUInt32BE(0) === bytes.length && bytes[4] === 0) return Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]);
      const fields = Buffer.from(`SFATAL\0C28P01\0Myou gave ${quotes}\0\0`);
      return Buffer.concat([Buffer.from("E"), u32(fields.length + 4), fields]);
    },
  },
};

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
const u16 = (value) => Buffer.from([value >> 8, value & 0xff]);

function mysqlPacket(sequence, body) {
  return Buffer.concat([Buffer.from([body.length & 0xff, body.length >> 8, 0, sequence]), body]);
}

/** A cluster of one broker, which leads the only partition of whatever topic is asked for. */
function brokerSays(bytes, quotes, port) {
  const text = (value) => Buffer.concat([u16(value.length), Buffer.from(value)]);
  const answer = (...parts) => {
    const body = Buffer.concat([bytes.subarray(8, 12), ...parts]);
    return Buffer.concat([u32(body.length), body]);
  };
  const at = 14 + Math.max(0, bytes.readInt16BE(12));
  switch (bytes.readInt16BE(4)) {
    case 17: return answer(u16(0), u32(1), text("PLAIN"));
    case 36: return mode === "take" ? answer(u16(0), Buffer.from([0xff, 0xff]), u32(0)) : answer(u16(58), text(`you gave ${quotes}`), u32(0));
    default: {
      const length = bytes.readInt32BE(at) > 0 ? bytes.readInt16BE(at + 4) : 0;
      const topic = bytes.toString("latin1", at + 6, at + 6 + length);
      return answer(u32(0), u32(1), u32(7), text("127.0.0.1"), u32(port), u16(0xffff), u16(0xffff), u32(7), u32(1), u16(0), text(topic), Buffer.from([0]), u32(1), u16(0), u32(0), u32(7), u32(0), u32(0));
    }
  }
}

function rabbitSays(bytes, quotes) {
  const method = (channel, kind, id, ...body) => {
    const payload = Buffer.concat([u16(kind), u16(id), ...body]);
    return Buffer.concat([Buffer.from([1]), u16(channel), u32(payload.length), payload, Buffer.from([0xce])]);
  };
  const long = (value) => Buffer.concat([u32(value.length), Buffer.from(value)]);
  if (bytes.toString("latin1", 0, 4) === "AMQP") return method(0, 10, 10, Buffer.from([0, 9]), u32(0), long("PLAIN"), long("en_US"));
  const said = [];
  for (let at = 0; at + 11 < bytes.length; at += 8 + bytes.readUInt32BE(at + 3)) {
    const [channel, kind, id] = [bytes.readUInt16BE(at + 1), bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 9)];
    if (kind === 10 && id === 11) {
      const text = Buffer.from(`you gave ${quotes}`.slice(0, 200));
      said.push(mode === "take" ? method(0, 10, 30, u16(100), u32(131072), u16(0)) : method(0, 10, 50, u16(541), Buffer.from([text.length]), text, u16(0), u16(0)));
    }
    if (kind === 10 && id === 40) said.push(method(0, 10, 41, Buffer.from([0])));
    if (kind === 20 && id === 10) said.push(method(channel, 20, 11, u32(0)));
    if (kind === 40 && id === 10) said.push(method(channel, 40, 11));
    if (kind === 85 && id === 10) said.push(method(channel, 85, 11));
  }
  return Buffer.concat(said);
}

function speaker(id, protocol, port = 0) {
  const server = createTcpServer((socket) => {
    let all = "";
    if (protocol.first) socket.write(protocol.first);
    socket.on("error", () => {}).on("data", (bytes) => {
      all += bytes.toString("latin1");
      const answer = protocol.says(bytes, quote(id, all.replaceAll(/[\0\r\n]/g, " ")).slice(9), server.address().port);
      if (answer.length > 0) socket.write(answer);
    });
  });
  return listen(server, [port]);
}

/** The manifests of all connectors, each HTTP one under a name of its own with an address on loopback in place of the vendor's. */
async function connectors(into) {
  const found = [];
  for (const file of readdirSync(CONNECTORS).filter((name) => name.endsWith(".toml")).sort()) {
    const id = file.slice(0, -".toml".length);
    let toml = readFileSync(path.join(CONNECTORS, file), "utf8");
    const { region = "", settings } = JSON.parse(readFileSync(path.join(CONNECTORS, "samples", `${id}.json`), "utf8"));
    const blocks = toml.split(/^\[\[settings\]\]$/m).slice(1).map((block) => block.split(/^\[/m)[0]);
    const secrets = blocks.filter((block) => /^secret = true$/m.test(block)).map((block) => /^id = "(.+)"$/m.exec(block)[1]);
    const key = (name) => new RegExp(`^${name} = "(.+)"$`, "m").exec(toml)?.[1];
    const protocol = key("protocol");
    const given = Object.fromEntries(secrets.map((name) => [name, (FORMS[id]?.[name] ?? secret)()]));
    const one = { id, name: id.replaceAll("_", "-"), region, protocol, secrets: given, settings: { ...settings, ...given } };
    if (key("linger_setting")) one.settings[key("linger_setting")] = "0";
    if ("names" in settings && settings.names !== "*") one.settings.names = "Add to cart";
    if (protocol) {
      one.port = await speaker(id, PROTOCOLS[protocol]);
      one.connector = id;
      one.address = "address";
      one.settings.address = `${settings.address.split("://")[0].replace(/s$/, "").replace("tl", "nats")}://127.0.0.1:${one.port}`;
      if (!("user" in settings) && /^id = "user"$/m.test(toml) && !["nats", "event_hubs"].includes(id)) one.settings.user = "convizit";
    } else {
      one.port = await vendor(id);
      one.connector = `x_${id}`;
      const url = `http://127.0.0.1:${one.port}`;
      one.address = key("host_setting") ?? key("endpoint_setting") ?? "endpoint_here";
      if (one.address === "endpoint_here") toml = `endpoint_setting = "endpoint_here"\n${toml}\n[[settings]]\nid = "endpoint_here"\nlabel = "Endpoint"\ndefault = ""\n`;
      toml = toml.replace(`\nid = "${id}"`, `\nid = "${one.connector}"`).replaceAll(/token_url = "[^"]+"/g, `token_url = "${url}/token"`).replace('kind = "google"\n', `kind = "google"\ntoken_url = "${url}/token"\n`);
      one.settings[one.address] = url;
      writeFileSync(path.join(into, `${one.connector}.toml`), toml);
    }
    found.push(one);
  }
  return found;
}

let [site, running, postgres, token, all] = [];
/** Everything that was said: where, and what. */
const said = [];

before(async () => {
  site = await Site.make();
  const own = folder(site, "connectors");
  all = await connectors(own);
  // Even with everything that the product's own rooms and its libraries can say.
  site.write({ delivery: `allow_networks = ["127.0.0.0/8"]\nconnectors = ${JSON.stringify(own)}`, log: 'filter = "trace"\nformat = "json"' });
  token = site.ok("token", "add", "everything", "--project", "shop", "--scope", "read,samples,capture,settings,destinations,members,erase,export,audit,incidents").trim();
  [running, postgres] = await Promise.all([site.serve(), startPostgres()]);
});

after(async () => {
  await running?.stop("SIGKILL");
  await postgres?.stop();
  for (const server of servers) { server.closeAllConnections?.(); server.close(); }
  site?.remove();
});

async function call(where, body, method = body === undefined ? "GET" : "POST") {
  const answer = await fetch(`${site.console}/api/v1/projects/shop${where}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  said.push([`${method} ${where}`, text]);
  return { status: answer.status, text, json: () => JSON.parse(text) };
}

/** A few at a time. */
async function each(list, act) {
  const waiting = [...list];
  await Promise.all(Array.from({ length: 6 }, async () => {
    for (let one; (one = waiting.shift()) !== undefined;) await act(one);
  }));
}

const processor = { name: "own" };
const adding = ({ name, region, connector, settings }) => ({ name, kind: "connector", connector, region, settings, processor });

test("every connector's credentials stay where they belong", async () => {
  const password = secret();
  const url = postgres.url.replace("convizit@", `convizit:${password}@`);
  const wrong = [];
  await each([...all, { name: "db" }, { name: "hook" }], async (one) => {
    if (one.name === "db") return assert.equal((await call("/destinations", { name: "db", kind: "postgres", secret: url, processor })).status, 201);
    if (one.name === "hook") return assert.equal((await call("/destinations", { name: "hook", kind: "webhook", url: `http://127.0.0.1:${await vendor("hook")}/in`, processor })).status, 201);
    const added = await call("/destinations", adding(one));
    one.added = added.status === 201;
    // A server of MySQL is more than this file has: it refuses, and quotes.
    if (one.added === (one.protocol === "mysql")) wrong.push(`${one.id}: ${added.status} ${added.text}`);
    // Secrets that are entered in a wrong form, in another field, and within an address.
    const settings = { ...one.settings };
    const host = `${settings[one.address].split("://")[0]}://convizit:${secret()}@127.0.0.1:${one.port}`;
    const others = [{ ...settings, [one.address]: host }, ...Object.keys(one.secrets).map((name) => ({ ...settings, [name]: `${secret()}\n${secret()} ` })), { ...settings, [secret()]: "x" }];
    for (const [index, other] of others.entries()) await call("/destinations", { ...adding(one), name: `${one.name}-${index}`, settings: other });
    for (const index of others.keys()) await call(`/destinations/${one.name}-${index}`, undefined, "DELETE");
  });
  assert.deepEqual(wrong, []);
  for (const kind of [{ kind: "webhook", url: `http://me:${secret()}@127.0.0.1:1/` }, { kind: "postgres", secret: `postgres://me:${secret()}@127.0.0.1:1/db` }, { kind: "postgres", secret: secret() }]) {
    assert.equal((await call("/destinations", { name: "none", processor, ...kind })).status, 422);
  }
  // In place of the database comes somebody who quotes.
  const { port } = new URL(url);
  await postgres.stop();
  postgres = null;
  await speaker("postgres", PROTOCOLS.postgres, Number(port));

  const stored = [...all.filter((one) => one.added), { name: "db", id: "postgres" }, { name: "hook", id: "hook" }];
  const visit = () => {
    // What Google asks for: where somebody came from.
    const batch = site.batch({ events: 2 });
    for (const { descriptor } of batch.events) descriptor.properties.gclid = "Cj0KCQ";
    return site.post({ ...batch, user: "user-17", consent: { analytics: true, ads: true, gpc: false } });
  };
  const states = async () => (await call("/destinations?limit=200")).json().items;
  for (const now of ["busy", "tokens", "deny"]) {
    mode = now;
    await each(stored, ({ name }) => call(`/destinations/${name}/test`, {}));
  }
  mode = "refuse";
  assert.equal((await visit()).status, 204);
  const troubled = (state) => state.paused || state.refused > 0 || state.failing;
  await until("every destination refuses", async () => (await states()).every(troubled), 10).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify((await states()).filter((state) => !troubled(state)))}`);
  });
  mode = "deny";
  assert.equal((await visit()).status, 204);
  await until("most wait for a person", async () => (await states()).filter((state) => state.paused).length > stored.length * 0.7, 10);
  const unseen = all.filter((one) => !came.has(one.id)).map((one) => one.id);
  // These send a signature or a digest, never the credential itself; what they got as a token is one, too.
  assert.deepEqual(unseen, all.map((one) => one.id).filter((id) => ["eventbridge", "firehose", "heap", "kinesis", "mysql", "redshift", "s3", "snowflake", "snowplow", "sqs"].includes(id)));
  assert.ok(quoted > 3 * stored.length, `${quoted} answers quoted`);

  const { ask } = await administrator(running);
  const page = async (where) => {
    const { status, text } = await ask(where);
    assert.equal(status, 200, `${where}: ${text}`);
    said.push([where, text]);
  };
  for (const where of ["/p/shop/destinations", "/p/shop/audit", "/p/shop/notices", "/p/shop/privacy", "/p/shop/settings", "/system", "/notices"]) await page(where);
  for (const { name } of stored) {
    for (const where of ["", "/preview", "/refused", "/replays"]) await call(`/destinations/${name}${where}`);
    for (const where of ["", "/change"]) await page(`/p/shop/destinations/${name}${where}`);
  }
  const refused = stored.filter(({ name }) => said.some(([where, text]) => where === `GET /destinations/${name}/refused` && /you gave/.test(text)));
  assert.ok(refused.length > 20, `words of ${refused.length} are kept in dead letters`);
  const commands = [["destination", "list", "shop"], ["destination", "list", "shop", "--json"], ["destination", "processors"], ["notices", "list"], ["audit", "list", "--all"], ["doctor"], ["project", "show", "shop", "--json"]];
  for (const command of [...commands, ...stored.map(({ name }) => ["destination", "dead", "shop", name])]) {
    // `doctor` asks receivers of this process.
    said.push([command.join(" "), await site.answered(...command).catch((error) => error.message)]);
  }
  said.push(["metrics", JSON.stringify([...await running.metrics()])]);
  assert.equal(await running.stop(), 0);
  said.push(["log", running.log]);
  for (const [file, bytes] of files(site.data)) said.push([file, bytes.toString("latin1")]);
  const leaks = said.flatMap(([where, text]) => forms().map((form) => [where, text, form]).filter(() => text.length > 0)).filter(([, text, form]) => text.toLowerCase().includes(form));
  assert.deepEqual(leaks.map(([where, text, form]) => `${where}: ${around(text, form)}`).slice(0, 20), []);
  assert.ok(said.length > 500 && running.log.includes("convizit is ready"));
  console.log(`${number} credentials of ${all.length + 2} kinds of destinations, quoted ${quoted} times: in none of ${said.length} answers, pages, outputs and files`);
});

/** In small letters: the mark itself, in base64 wherever it begins, and a line of the key. */
function forms() {
  const packed = [0, 1, 2].map((before) => Buffer.from("x".repeat(before) + MARK).toString("base64").slice(Math.ceil((before * 4) / 3), Math.floor(((before + MARK.length) * 4) / 3)));
  return [MARK, ...packed, PEM.split("\n")[3]].map((form) => form.toLowerCase());
}

const around = (text, form) => {
  const at = text.toLowerCase().indexOf(form);
  return JSON.stringify(text.slice(Math.max(0, at - 100), at + 60));
};
