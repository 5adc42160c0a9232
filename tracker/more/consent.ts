// Consent platforms: IAB TCF 2.2 and GPP, Google consent mode. What they say is what the site said.
import type { Bridge } from "../src/index";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;

type Api = (...args: unknown[]) => void;

if (bridge) {
  const view = window as unknown as { __tcfapi?: Api; __gpp?: Api; dataLayer?: unknown[] };
  const guard = (run: () => void) => {
    try {
      run();
    } catch {
      /* the platform's own fault */
    }
  };
  guard(() =>
    view.__tcfapi?.("addEventListener", 2, (data: { eventStatus?: string; gdprApplies?: boolean; purpose?: { consents?: Record<string, boolean> } }, ok: boolean) => {
      if (!ok || !/^(tcloaded|useractioncomplete)$/.test(data.eventStatus || "") || data.gdprApplies === false) return;
      const purposes = data.purpose?.consents || {};
      // 1 storage, 8 measure content; 2–4 and 7 are advertising's.
      bridge._consent({ analytics: !!(purposes[1] && purposes[8]), ads: !!(purposes[2] && purposes[7]) });
    }),
  );
  guard(() =>
    view.__gpp?.("addEventListener", (event: { pingData?: { parsedSections?: Record<string, unknown> } }) => {
      for (const section of Object.values(event.pingData?.parsedSections || {})) {
        const parsed = (Array.isArray(section) ? section[0] : section) as { SaleOptOut?: number; TargetedAdvertisingOptOut?: number } | undefined;
        if (parsed && (parsed.SaleOptOut === 1 || parsed.TargetedAdvertisingOptOut === 1)) bridge._consent({ ads: false });
      }
    }),
  );
  guard(() => {
    const layer = view.dataLayer;
    if (!Array.isArray(layer)) return;
    const read = (entry: unknown) => {
      const [command, , state] = Array.from((entry || []) as ArrayLike<unknown>) as [string, string, Record<string, string> | undefined];
      if (command !== "consent" || !state) return;
      const said = (key: string) => (state[key] ? state[key] === "granted" : undefined);
      const next: { analytics?: boolean; ads?: boolean } = {};
      const analytics = said("analytics_storage");
      const ads = said("ad_storage");
      if (analytics !== undefined) next.analytics = analytics;
      if (ads !== undefined) next.ads = ads;
      bridge._consent(next);
    };
    layer.forEach((entry) => guard(() => read(entry)));
    const push = layer.push;
    layer.push = function (...entries: unknown[]) {
      entries.forEach((entry) => guard(() => read(entry)));
      return push.apply(layer, entries);
    };
  });
}
