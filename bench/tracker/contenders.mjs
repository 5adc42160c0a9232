// The trackers that are compared: the script a site loads, what stands before and after it in the page, and its version.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { settingsFor } from "../../tracker/test/settings.mjs";

const here = import.meta.dirname;
const dist = process.env.CONVIZIT_DIST ?? path.resolve(here, "../../tracker/dist");
const key = "cv_bench";

const shipped = (file) => readFileSync(path.join(here, "node_modules", file), "utf8");
const version = (name) => JSON.parse(shipped(`${name}/package.json`)).version;

async function bundled(entry) {
  const { outputFiles } = await build({ entryPoints: [path.join(here, entry)], bundle: true, minify: true, write: false, legalComments: "none" });
  return outputFiles[0].text;
}

// Each sends a second after an event, as Convizit and Amplitude do unasked: with the longer waits of others their sending
// would fall outside of what is measured.
const SEND = 1000;

export async function contenders() {
  const core = readFileSync(path.join(dist, "convizit.js"), "utf8");
  const english = JSON.stringify(JSON.parse(readFileSync(path.join(dist, "more/words.json"), "utf8")).en);
  const more = readFileSync(path.join(dist, "more.js"), "utf8") + readFileSync(path.join(dist, "more/rules.js"), "utf8").replace("WORDS", () => english);
  const before = `window.convizitSettings=${JSON.stringify(settingsFor(key)).replaceAll("<", "\\u003c")};\n`;
  return [
    {
      name: "convizit",
      script: `/t/${key}.js`,
      files: { [`/t/${key}.js`]: before + core, [`/t/${key}/more.js`]: more },
      sizes: { "convizit.js": core, "more.js": more },
    },
    {
      name: "posthog-js",
      version: version("posthog-js"),
      script: "/posthog.js",
      files: { "/posthog.js": shipped("posthog-js/dist/array.js") },
      after: `posthog.init("phc_bench",{api_host:benchOrigin+"/sink",defaults:"2026-01-30",advanced_disable_flags:true,disable_surveys:true,request_queue_config:{flush_interval_ms:${SEND}}})`,
    },
    {
      name: "mixpanel",
      version: version("mixpanel-browser"),
      script: "/mixpanel.js",
      files: { "/mixpanel.js": shipped("mixpanel-browser/dist/mixpanel.min.js") },
      // What the vendor's snippet leaves for the script: the queue of one init call.
      before: `mixpanel=[];mixpanel.__SV=1.2;mixpanel._i=[["bench",{api_host:benchOrigin+"/sink",autocapture:true,disable_all_flags:true,remote_settings_mode:"disabled",batch_flush_interval_ms:${SEND}},"mixpanel"]]`,
    },
    {
      name: "amplitude",
      version: version("@amplitude/analytics-browser"),
      script: "/amplitude.js",
      files: { "/amplitude.js": shipped("@amplitude/analytics-browser/lib/scripts/amplitude-min.js") },
      after: `amplitude.init("0123456789abcdef0123456789abcdef",{serverUrl:benchOrigin+"/sink",fetchRemoteConfig:false,flushIntervalMillis:${SEND},autocapture:{attribution:true,pageViews:true,sessions:true,formInteractions:true,fileDownloads:true,elementInteractions:true,frustrationInteractions:true,pageUrlEnrichment:true,networkTracking:false,webVitals:false}})`,
    },
    {
      name: "snowplow",
      version: version("@snowplow/browser-tracker"),
      script: "/snowplow.js",
      files: { "/snowplow.js": await bundled("entries/snowplow.js") },
    },
    { name: "no tracker", files: {} },
  ];
}

export const gzipped = (text) => gzipSync(text, { level: 9 }).length;
