// The page's own data, for the batches of this page.
import type { Bridge } from "../src/index";
import { setSettings, type Settings } from "../src/config";
import { pageBlock } from "../src/page";
import { richPage } from "../src/rich";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;
const read = () => {
  try {
    // This script has its own copy of what reads them.
    setSettings((window as unknown as { convizitSettings: Settings }).convizitSettings);
    bridge!._page({ title: pageBlock().title, ...richPage() });
  } catch {
    /* the core's block stands */
  }
};
bridge?._onPage((state) => {
  if (state) return;
  // From a cache this script comes before the page's own have written what it is about; a client-side route fills in later.
  if (document.readyState === "complete") read();
  else addEventListener("load", read, { once: true });
  // Modules may run after the load event; the first batch leaves a second after the page came.
  for (const millis of [400, 1500]) setTimeout(() => document.readyState === "complete" && read(), millis);
});
