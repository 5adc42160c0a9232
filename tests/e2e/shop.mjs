// The demo shop as a site of somebody's own: its pages from `demo/` on a free port, with whatever snippet its owner puts into their heads.
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";

const pages = path.resolve(import.meta.dirname, "../../demo");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webm": "video/webm", ".txt": "text/plain" };

/** The addresses are those of `convizit demo`: `/`, `/search`, `/p/trail-shoe`, `/app/shoes`, … */
export async function startShop() {
  const shop = { snippet: "" };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://shop");
    const [, first] = pathname.split("/");
    const name = path.extname(first) ? first : `${{ "": "index", p: "product" }[first] ?? first}.html`;
    const file = path.join(pages, name);
    if (!existsSync(file)) return response.writeHead(404).end();
    const type = TYPES[path.extname(name)];
    const body = type.startsWith("text/html") ? readFileSync(file, "utf8").replace("<!-- convizit -->", () => shop.snippet) : readFileSync(file);
    response.writeHead(200, { "content-type": type, "cache-control": "no-cache" }).end(body);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return Object.assign(shop, {
    origin: `http://localhost:${server.address().port}`,
    stop() {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  });
}
