// A webhook receiver on loopback that keeps the events of batches whose signature is right, as a customer's would.
import { createHmac } from "node:crypto";
import { createServer } from "node:http";

/** `secret` is what the console shows; `judge` gives the status for events whose signature is right; `unsigned` counts the others. */
export async function startReceiver() {
  const hook = { secret: "", events: [], unsigned: 0, judge: () => 204 };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; }).once("end", () => {
      const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature } = request.headers;
      const key = Buffer.from(hook.secret.replace("whsec_", ""), "base64");
      if (signature !== `v1,${createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64")}`) {
        hook.unsigned++;
        return response.writeHead(401).end();
      }
      // What tells of an erasure has none.
      const { events = [] } = JSON.parse(body);
      const status = hook.judge(events);
      if (status < 300) hook.events.push(...events);
      response.writeHead(status).end();
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return Object.assign(hook, {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  });
}
