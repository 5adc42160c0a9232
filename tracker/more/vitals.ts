// Core Web Vitals by buffered observers, one event each when the page is hidden.
import type { Bridge } from "../src/index";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;
// Limits of "good" and "poor" as web.dev publishes them.
const LIMITS: Record<string, [number, number]> = { LCP: [2500, 4000], CLS: [0.1, 0.25], INP: [200, 500], FCP: [1800, 3000], TTFB: [800, 1800] };
const values: Record<string, number> = {};

const observe = (type: string, run: (entry: PerformanceEntry & Record<string, number>) => void, extra = {}) => {
  try {
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => run(entry as never))).observe({ type, buffered: true, ...extra });
  } catch {
    /* not known here */
  }
};

if (bridge) {
  const navigation = performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming | undefined;
  if (navigation) values.TTFB = Math.max(0, navigation.responseStart - ((navigation as unknown as { activationStart?: number }).activationStart || 0));
  observe("paint", (entry) => {
    if (entry.name === "first-contentful-paint") values.FCP = entry.startTime;
  });
  observe("largest-contentful-paint", (entry) => {
    values.LCP = entry.startTime;
  });
  // The worst window of shifts: at most 5 s long, with gaps below 1 s.
  let session = 0;
  let first = 0;
  let last = 0;
  observe("layout-shift", (entry) => {
    if ((entry as unknown as { hadRecentInput: boolean }).hadRecentInput) return;
    if (entry.startTime - last < 1000 && entry.startTime - first < 5000) session += entry.value!;
    else {
      session = entry.value!;
      first = entry.startTime;
    }
    last = entry.startTime;
    values.CLS = Math.max(values.CLS || 0, session);
  });
  const slowest: number[] = [];
  observe(
    "event",
    (entry) => {
      if (!entry.interactionId) return;
      slowest.push(entry.duration);
      slowest.sort((a, b) => b - a).splice(10);
      values.INP = slowest[0]!;
    },
    { durationThreshold: 40 },
  );
  let sent = false;
  bridge._onPage((state) => {
    if (state < 2 || sent) return;
    sent = true;
    for (const metric of Object.keys(values)) {
      const value = values[metric]!;
      const [good, poor] = LIMITS[metric]!;
      bridge._emit("web_vital", undefined, {
        Metric: metric,
        Value: metric === "CLS" ? Math.round(value * 1000) / 1000 : Math.round(value),
        Rating: value <= good ? "good" : value <= poor ? "needs improvement" : "poor",
      });
    }
  });
}
