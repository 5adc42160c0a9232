// Compiles the tracker's sources on the fly, each time with a state of their own, beside a window that holds what they need.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const words = JSON.parse(readFileSync(path.join(root, "src/words.json"), "utf8"));
const rooms = ["capture", "config", "consent", "element", "identity", "label", "page", "privacy", "queue", "price", "record", "role", "rules", "template", "transport"];

const { outputFiles } = await build({
  stdin: { contents: rooms.map((room) => `export * from "./src/${room}";`).join("\n"), resolveDir: root },
  bundle: true,
  write: false,
  format: "esm",
  target: "es2022",
});

/** Settings as a new project has them. */
export const settings = {
  key: "pk_unit",
  version: 3,
  identity: "storage",
  cookieDays: 400,
  events: ["page_view", "click"],
  optionLabels: true,
  excludeSelectors: "",
  excludePaths: "",
  keepQuery: `^(${words.keptQuery}|size)$`,
  privateFields: words.privateFields,
  privatePlaces: words.privatePlaces,
  quantity: words.quantity,
  consentRequired: false,
  honourGpc: true,
  honourDnt: true,
  traits: [],
  more: false,
};

/** localStorage as it is: names are its own keys, values are texts, the room is bounded. */
export function storage(room = Infinity) {
  const kept = {};
  for (const [name, run] of Object.entries({
    getItem: (key) => (Object.hasOwn(kept, key) ? kept[key] : null),
    setItem: (key, value) => {
      const bytes = Object.entries(kept).reduce((sum, [name, text]) => sum + (name === key ? 0 : name.length + text.length), 0);
      if (bytes + key.length + String(value).length > room) throw new Error("QuotaExceededError");
      kept[key] = String(value);
    },
    removeItem: (key) => delete kept[key],
  })) Object.defineProperty(kept, name, { value: run });
  return kept;
}

let loads = 0;

/** One page load. */
export async function load({ changed = {}, localStorage = storage(), href = "https://shop.example/list?page=2" } = {}) {
  const location = new URL(href);
  globalThis.window = { localStorage, setTimeout, fetch: undefined };
  globalThis.location = location;
  // Node 20 has none; later ones do not let theirs be set.
  globalThis.navigator ??= {};
  globalThis.document = { cookie: "", title: "", referrer: "", documentElement: { lang: "" } };
  const text = `${outputFiles[0].text}\n//${++loads}`;
  const sources = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  sources.setSettings({ ...settings, ...changed });
  return sources;
}
