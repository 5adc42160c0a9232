// Where events arrive while the program that sends them is killed: each receiver keeps what came, and says which ids it has.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { gunzipSync } from "node:zlib";
import { freePort, until } from "../e2e/product.mjs";
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

/** A bucket in moto, an emulator of S3. */
export async function bucket(name) {
  const port = await freePort();
  const program = await installed("moto[server]==5.2.5", "moto_server");
  const child = spawn(program, ["-H", "127.0.0.1", "-p", String(port)], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/${name}`;
  const headers = { authorization: "AWS4-HMAC-SHA256 Credential=test/20261130/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=00" };
  const make = () => fetch(url, { method: "PUT", headers, body: "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>" });
  await until("moto answers", () => make().then((answer) => answer.ok, () => false), 60);
  return {
    url,
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
      child.kill("SIGTERM");
      await new Promise((done) => child.once("close", done));
    },
  };
}
