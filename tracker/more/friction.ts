// What annoys visitors: rage, dead and error clicks; media, dialogs and forms that are left.
import type { Bridge } from "../src/index";

const bridge = (window as unknown as { convizit?: { _bridge?: Bridge } }).convizit?._bridge;

if (bridge) {
  const on = bridge._on;
  /** The last clicks: [time, x, y]. */
  const clicks: [number, number, number][] = [];
  let errors = 0;
  /** How often the page changed or was scrolled. */
  let changes = 0;
  const said = (el: Element | null) => (el && (el.getAttribute("aria-label") || el.textContent)) || "";
  // Made to be clicked often, or their effect is not in the page.
  const often = (el: Element) =>
    !!el.closest(
      "input,select,textarea,video,audio,canvas,[role=slider],[role=spinbutton],[role=scrollbar],[contenteditable],[data-repeat]",
    ) || /^[+\-−–‹›«»<>▲▼←→]$|\b(next|prev|previous|plus|minus|increase|decrease|more|less|volume|zoom|copy)\b/i.test(said(el.closest("button,a,[role=button]")).trim().slice(0, 30));
  const selecting = () => {
    const selection = getSelection();
    return !!selection && !selection.isCollapsed;
  };
  const moved = () => changes++;
  const seen = new WeakSet<Node>();
  const watch = (root: Node) => {
    if (seen.has(root)) return;
    seen.add(root);
    new MutationObserver(moved).observe(root, { childList: true, subtree: true, attributes: true, characterData: true });
  };
  watch(document);
  on(window, "scroll", moved);
  // What is loaded is an effect too; what the tracker sends is none.
  new PerformanceObserver((list) => list.getEntries().some((entry) => !entry.name.endsWith("/v1/collect")) && moved()).observe({ type: "resource" });
  for (const name of ["error", "unhandledrejection"]) on(window, name, (event) => event.target === window && errors++);
  let raged = 0;
  on(window, "click", (event) => {
    const now = Date.now();
    const el = (event.composedPath()[0] || event.target) as Element;
    if (!el || el.nodeType !== 1) return;
    const { clientX: x, clientY: y } = event as MouseEvent;
    // Keyboards and scripts click at no place.
    const placed = (event as MouseEvent).detail > 0;
    if (clicks.push([now, x, y]) > 50) clicks.shift();
    const near = clicks.filter(([time, cx, cy]) => now - time < 1000 && Math.hypot(cx - x, cy - y) < 30);
    if (placed && near.length >= 3 && now - raged > 1000 && !often(el) && !selecting()) {
      raged = now;
      bridge._emit("rage_click", el, { Clicks: near.length });
    }
    const failed = errors;
    const link = el.closest("a[href]");
    const control = el.closest("button,a,[role=button],[role=link],[role=menuitem],[onclick],summary");
    const leaves = link && !/^(#|javascript:)/.test(link.getAttribute("href") || "");
    const before = changes;
    // An effect may lie in a shadow root or in a frame of this origin; another's throws.
    watch(el.getRootNode());
    for (const frame of [...document.querySelectorAll("iframe")].slice(0, 20)) {
      try {
        watch(frame.contentDocument!);
      } catch {
        /* another origin */
      }
    }
    const address = location.href;
    setTimeout(() => {
      try {
        if (errors > failed && control && el.isConnected) bridge._emit("error_click", el);
      } catch {
        /* nothing */
      }
    }, 500);
    if (!placed || leaves || !control || often(el) || control.closest("label,[download],[target=_blank],[aria-pressed],[aria-expanded],summary,[popovertarget],[type=submit],form")) return;
    const hadFocus = document.hasFocus();
    setTimeout(() => {
      const still = changes === before && location.href === address;
      // Gone from the page, a file chooser or another window: something did happen.
      if (still && el.isConnected && !selecting() && document.visibilityState === "visible" && hadFocus === document.hasFocus()) bridge._emit("dead_click", el);
    }, 1200);
  });

  const quarters = new WeakMap<Element, number>();
  const media = (name: string, action: string) =>
    on(document, name, (event) => {
      const el = event.target as HTMLMediaElement;
      if (name === "pause" && el.ended) return;
      bridge._emit("media", el, { Action: action, Duration: isFinite(el.duration) ? Math.round(el.duration) : null });
    });
  media("play", "Play");
  media("pause", "Pause");
  media("ended", "End");
  on(document, "timeupdate", (event) => {
    const el = event.target as HTMLMediaElement;
    if (!(el.duration > 4) || !isFinite(el.duration)) return;
    const quarter = Math.floor((el.currentTime / el.duration) * 4);
    if (quarter > (quarters.get(el) || 0) && quarter < 4) {
      quarters.set(el, quarter);
      bridge._emit("media", el, { Action: "Progress", Percent: quarter * 25 });
    }
  });

  on(document, "toggle", (event) => {
    const el = event.target as Element;
    if (el.localName === "dialog") bridge._emit("dialog", el, { Action: (el as HTMLDialogElement).open ? "Open" : "Close" });
  });

  // Begun means typed in or chosen from: what was typed is not read.
  let begun: Element | null = null;
  on(document, "input", (event) => {
    const form = ((event.composedPath()[0] || event.target) as HTMLInputElement).form;
    // A route may take it out of what excludes it before it is left.
    if (form) begun = bridge._mayRead(form) ? form : null;
  });
  on(document, "submit", () => {
    begun = null;
  });
  const abandoned = () => {
    if (begun) bridge._emit("form_abandon", begun);
    begun = null;
  };
  bridge._onPage((state) => {
    if (state === 1 || state === 2) abandoned();
  });
}
