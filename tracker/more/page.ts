// The page's own data, for the batches of this page.
import type { Bridge } from "../src/index";
import { richPage } from "../src/rich";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;
bridge?._onPage(() => {
  try {
    bridge._page(richPage());
  } catch {
    /* the core's block stands */
  }
});
