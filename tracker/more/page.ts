// The page's own data, for the batches of this page.
import type { Bridge } from "../src/index";
import { setSettings, type Settings } from "../src/config";
import { richPage } from "../src/rich";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;
bridge?._onPage((state) => {
  if (state) return;
  try {
    // This script has its own copy of what reads them.
    setSettings((window as unknown as { convizitSettings: Settings }).convizitSettings);
    bridge._page(richPage());
  } catch {
    /* the core's block stands */
  }
});
