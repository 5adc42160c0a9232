// The loopback server: the page with one tracker in it, that tracker's files, and a sink that takes and counts whatever is sent.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { gunzipSync } from "node:zlib";

const CARDS = 36;
const makes = ["Trail", "Road", "Summit", "Coast", "Forest", "Canyon"];
const kinds = ["Runner", "Racer", "Guide", "Light", "Pro", "Classic"];

function page(contender, origin) {
  const text = readFileSync(path.join(import.meta.dirname, "page.html"), "utf8");
  const script = (code) => (code ? `<script>${code}</script>` : "");
  const tracker =
    script(`benchOrigin=${JSON.stringify(origin)};${contender.before ?? ""}`) +
    (contender.script ? `<script src="${origin}${contender.script}"></script>` : "") +
    script(contender.after);
  return text
    .replace(/<!-- card -->([^]*)<!-- \/card -->/, (_, card) =>
      Array.from({ length: CARDS }, (_, at) =>
        card.replaceAll("{{n}}", at + 1).replaceAll("{{name}}", `${makes[at % 6]} ${kinds[(at / 6) | 0]}`).replaceAll("{{price}}", (49.9 + at).toFixed(2)),
      ).join(""),
    )
    .replace("<!-- tracker -->", () => tracker);
}

/** The events of a body, in any of the trackers' forms; for counting only. */
function eventsOf(raw) {
  if (!raw.length) return [];
  let text = (raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw).toString();
  if (text.startsWith("data=")) {
    text = decodeURIComponent(text.slice(5).replace(/&.*$/, "").replaceAll("+", " "));
    if (!/^[[{]/.test(text)) text = Buffer.from(text, "base64").toString();
  }
  const body = JSON.parse(text);
  return Array.isArray(body) ? body : body.events ?? body.batch ?? body.data ?? [body];
}

export async function serve(contenders) {
  // Of the running visit: what arrived, a repeat once; bytes as they came.
  const events = new Set();
  let bytes = 0;
  let origin;
  const files = Object.assign({}, ...contenders.map((contender) => contender.files));
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, origin);
    const allow = {
      "access-control-allow-origin": request.headers.origin ?? "*",
      "access-control-allow-credentials": "true",
      "access-control-allow-headers": request.headers["access-control-request-headers"] ?? "*",
      "access-control-expose-headers": "Convizit-Settings",
      "cache-control": "no-store",
    };
    const answer = (status, type, body = "") => response.writeHead(status, { ...allow, "content-type": type, "convizit-settings": "1" }).end(body);
    const contender = contenders.find(({ name }) => pathname === `/page/${encodeURIComponent(name)}`);
    if (request.method === "OPTIONS") answer(204, "text/plain");
    else if (contender) answer(200, "text/html; charset=utf-8", page(contender, origin));
    else if (files[pathname]) answer(200, "text/javascript; charset=utf-8", files[pathname]);
    // PostHog's settings of a project that has autocapture and nothing else.
    else if (pathname.endsWith("/config.js")) answer(200, "text/javascript", `(_POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{}).phc_bench={config:{hasFeatureFlags:false,supportedCompression:["gzip-js"],autocapture_opt_out:false,sessionRecording:false,surveys:false,heatmaps:false,capturePerformance:false,captureDeadClicks:false},siteApps:[]}`);
    else {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        const raw = Buffer.concat(parts);
        if (request.method === "POST") {
          bytes += raw.length;
          try {
            for (const event of eventsOf(raw)) events.add(JSON.stringify(event));
          } catch {
            console.error(`a body that cannot be read came to ${pathname}`);
          }
        }
        if (pathname === "/v1/collect") answer(204, "text/plain");
        else if (pathname.includes("/track")) answer(200, "text/plain", "1");
        else answer(200, "application/json", `{"status":"Ok","code":200}`);
      });
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  origin = `http://127.0.0.1:${port}`;
  return {
    port,
    // The page's host is another than the trackers': they are a third party, as on a site.
    address: (contender) => `http://localhost:${port}/page/${encodeURIComponent(contender.name)}`,
    take: () => {
      // Convizit says so where it left something out because the time it allows itself had passed.
      const cut = [...events].filter((text) => JSON.parse(text).descriptor?.cut).length;
      const now = { events: events.size, bytes, cut };
      events.clear();
      bytes = 0;
      return now;
    },
    stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}
