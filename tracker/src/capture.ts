// Listeners: capture phase, passive, on window; what handlers may change is read at once, the rest comes after them.
import { describe, type Described } from "./describe";
import { quiet } from "./identity";
import type { Properties } from "./record";

export type Emit = (type: string, described?: Described | null, properties?: Properties, time?: number) => unknown;

// Whatever is no page: an extension that no server makes pages with.
export const FILES = /\.(?!html?$|php|asp|jsp|cgi|com$)([a-z][a-z0-9]{1,4})$/i;

/** A listener that can never harm the page. */
export const on = (target: EventTarget, type: string, run: (event: Event) => unknown) =>
  target.addEventListener(type, (event) => quiet(() => run(event)), { capture: true, passive: true });

/** What lies innermost, across open shadow roots; where it is no element, describing it fails and nothing is captured. */
const startOf = (event: Event) => event.composedPath()[0] as Element;

const listened = new WeakSet<object>();

/** Listens in a window, and in the frames of the same origin inside it. */
export const listen = (view: Window, emit: Emit) => {
  const { document, Object } = view as Window & { Object: object };
  // A frame that goes to another page keeps its window's outside; what listens is inside, and each inside has its own Object.
  if (listened.has(Object)) return;
  listened.add(Object);
  on(view, "click", (event) => {
    const el = startOf(event);
    // A label's click is followed by its control's own.
    const control = el.closest("label")?.control;
    if (control && !control.contains(el) && !el.closest("a[href],button")) return;
    const found = describe(el, event.type);
    if (!found) return;
    const link = el.closest("a[href]") as HTMLAnchorElement | null;
    const file = link && FILES.exec(link.pathname);
    const outside = link && /^http/.test(link.protocol) && link.host !== location.host;
    emit(
      file || link?.hasAttribute("download") ? "download" : "click",
      found,
      file ? { "File type": file[1]!.toLowerCase() } : outside ? { "Link domain": link.hostname } : {},
    );
  });
  const filled = (event: Event) => {
    const el = startOf(event);
    // A form that only closes its dialog sends nothing.
    if (!el.matches("[method=dialog]")) emit(event.type, describe(el, event.type));
  };
  const forms = (target: EventTarget) => {
    on(target, "change", filled);
    on(target, "submit", filled);
  };
  forms(view);
  // These two stay inside a shadow root: whoever changes something in it has entered it first.
  on(view, "focusin", (event) =>
    event.composedPath().forEach((node) => {
      if ((node as Node).nodeType !== 11 || listened.has(node)) return;
      listened.add(node);
      forms(node);
    }),
  );
  on(view, "copy", () => emit("copy"));
  on(view, "beforeprint", () => emit("print"));
  // An error where the origin is another.
  const enter = (frame: Element) =>
    quiet(() => {
      const inner = (frame as HTMLIFrameElement).contentWindow as Window & { convizit?: { _bridge?: unknown } };
      // A frame with a tracker of its own is a page of its own.
      listen(inner, (...args) => inner.convizit?._bridge || emit(...args));
    });
  // Frames added later announce themselves by their load event, which a document sees and a window does not.
  on(document, "load", (event) => enter(event.target as Element));
  document.querySelectorAll("iframe").forEach(enter);
};
