// The page's own data, for the batches of this page.
import type { Bridge } from "../src/index";
import { richPage } from "../src/rich";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;
// A product page takes some milliseconds to read: they are taken when the page has nothing to do.
const idle: (work: () => void, options: { timeout: number }) => void = window.requestIdleCallback || setTimeout;
const read = () =>
  idle(
    () => {
      try {
        bridge!._page(richPage(bridge!));
      } catch {
        /* the core's block stands */
      }
    },
    { timeout: 300 },
  );
bridge?._onPage((state) => {
  if (state) return;
  // From a cache this script comes before the page's own have written what it is about; a client-side route fills in later.
  if (document.readyState === "complete") read();
  else addEventListener("load", read, { once: true });
  // Modules may run after the load event; the first batch leaves a second after the page came.
  for (const millis of [400, 1500]) setTimeout(() => document.readyState === "complete" && read(), millis);
});
