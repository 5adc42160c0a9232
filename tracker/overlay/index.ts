// The Visual Data Customizer: an overlay on the live site that shows what is captured and saves drafts of what is to change. It is
// loaded with a token of the console alone, reads nothing that is typed into the page, and sends nothing but what the tracker would.
import { setSettings, type Settings } from "../src/config";
import { learn } from "../src/privacy";
import { boxOf, controlAt, controlsOf, isExcluded, selectorOf, shownOf, under } from "./controls";
import { details, h, isDraft, isKept, nameOf, overview, type View } from "./panel";
import { ask, connect, names, type Change, type Draft, type Opened, type Seen, type Shown } from "./server";
import { STYLE } from "./style";

/** Controls that are asked for at once: what they say fits into a request of 64 KiB, but for a page of endless labels. */
const AT_ONCE = 25;
const BYTES = 50_000;

/** What is known of a control: its event as the tracker would send it, and what the server makes of it. */
interface Known {
  /** null: the page or a selector keeps it out. */
  shown: Shown | null;
  text: string;
  /** undefined until it is answered, null where a rule of the settings leaves it out. */
  seen: Seen | null | undefined;
}

const start = (given: Settings, script: HTMLScriptElement) => {
  const [, fresh, own] = /^#convizit=([\w.]+)(.*)$/s.exec(given.hash || "") || [];
  given.hash = "";
  const token = fresh || sessionStorage.getItem("convizit");
  if (!token || document.querySelector("convizit-customizer")) return;
  // For the next page of this tab: the token ends with it, at the latest after a quarter of an hour.
  if (fresh) sessionStorage.setItem("convizit", fresh);
  if (own) location.hash = own;
  connect(new URL(script.src).origin, token);
  // Rules that need the words of the page's language are the server's, which looks at everything again.
  learn((text) => text === undefined);
  setSettings(given);

  const host = document.createElement("convizit-customizer");
  // The tracker passes by whatever is done in here.
  host.setAttribute("convizit-ignore", "");
  const root = host.attachShadow({ mode: "closed" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];

  const known = new WeakMap<Element, Known>();
  const drafts = new Map<string, Draft>();
  let controls: Element[] = [];
  let boxes = new Map<Element, HTMLElement>();
  let choosing = true;
  let over: Element | null = null;
  let chosen: Element | null = null;
  let typed = "";
  let wrong = "";
  let ended = false;
  let address = location.href;

  const shield = h("div", { class: "shield" });
  const layer = h("div", { "aria-hidden": "true" });
  const tip = h("div", { class: "tip", hidden: true });
  const said = h("p", { class: "said", role: "status" });
  const body = h("div");
  const foot = h("footer");
  const chooseButton = h("button", { type: "button", "aria-pressed": "true", onclick: () => choose(true) }, "Choose");
  const useButton = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(false) }, "Use the page");
  const title = h("strong", { tabindex: -1 }, "Convizit");
  const panel = h("section", { class: "panel", "aria-label": "Convizit customizer" },
    h("header", {}, title,
      h("button", { type: "button", class: "quiet icon side", "aria-label": "Move to the other side", title: "Move to the other side", onclick: () => panel.classList.toggle("left") }, "⇄"),
      h("button", { type: "button", class: "quiet icon", "aria-label": "End", title: "End (Escape)", onclick: () => end() }, "✕")),
    h("div", { class: "main" }, h("div", { class: "pair", role: "group", "aria-label": "What a click does" }, chooseButton, useButton), said, body),
    foot);
  root.append(layer, shield, tip, panel);

  const say = (text: string, bad = false) => {
    said.textContent = text;
    said.classList.toggle("bad", bad);
  };

  const viewOf = (el: Element | null): View | null => {
    const found = el && known.get(el);
    if (!found?.seen || !found.shown) return null;
    const { seen } = found;
    const of = (id: string | null | undefined) => (id ? drafts.get(id) : undefined);
    return { seen, type: found.shown.type, renamed: of(seen.name), control: of(seen.element), group: of(seen.group?.id) };
  };

  const place = (el: Element, target: HTMLElement) => {
    const { x, y, width, height } = boxOf(el);
    target.style.transform = `translate(${x - 2}px, ${y - 2}px)`;
    target.style.width = `${width + 4}px`;
    target.style.height = `${height + 4}px`;
  };

  const draw = () => {
    if (ended) return;
    const next = new Map<Element, HTMLElement>();
    for (const el of controls) {
      const box = boxes.get(el) || layer.appendChild(h("div"));
      boxes.delete(el);
      const found = known.get(el);
      const view = viewOf(el);
      const state = !found || found.seen === undefined ? "wait" : !view ? "out" : `${isKept(view) ? "" : "off"} ${isDraft(view) ? "draft" : ""}`;
      box.className = `box ${state} ${el === over ? "over" : ""} ${el === chosen ? "chosen" : ""}`;
      place(el, box);
      next.set(el, box);
    }
    boxes.forEach((box) => box.remove());
    boxes = next;
    point();
  };

  /** What stands beside the control that is pointed at. */
  const point = () => {
    const found = over && known.get(over);
    tip.hidden = !over || !found || over === chosen;
    if (!over || !found || tip.hidden) return;
    const view = viewOf(over);
    const group = view?.seen.group;
    const lines = !found.shown || found.seen === null
      ? ["Left out", "The page, or a selector of the settings, keeps it out: it sends nothing."]
      : !view
        ? ["…", ""]
        : [nameOf(view), [isKept(view) ? "" : "not captured", isDraft(view) ? "draft" : "", group && `${group.name}, ${group.position} of ${group.length}`, properties(view)].filter(Boolean).join(" · ")];
    tip.replaceChildren(lines[0]!, ...(lines[1] ? [h("small", {}, lines[1])] : []));
    const box = boxOf(over);
    const { width, height } = tip.getBoundingClientRect();
    const y = box.bottom + height + 8 < innerHeight ? box.bottom + 6 : Math.max(4, box.top - height - 6);
    tip.style.transform = `translate(${Math.max(4, Math.min(box.left, innerWidth - width - 4))}px, ${y}px)`;
  };

  const properties = ({ seen }: View) => Object.entries(seen.properties).slice(0, 4).map(([key, value]) => `${key}: ${String(value).slice(0, 40)}`).join(", ");

  const render = (focus?: string) => {
    const view = viewOf(chosen);
    if (chosen && view) {
      delete body.dataset.shown;
      body.replaceChildren(...details(view, selectorOf(chosen), typed, wrong, { rename, capture, back: () => select(null) }));
    } else {
      const all = controls.map(viewOf);
      const counts = { all: controls.length, off: all.filter((one) => one && !isKept(one)).length, out: controls.filter((el) => { const found = known.get(el); return found && (!found.shown || found.seen === null); }).length };
      const key = JSON.stringify([counts, choosing]);
      if (body.dataset.shown !== key) {
        // Whoever stands on a button stays there.
        const on = root.activeElement?.closest("button")?.textContent;
        body.replaceChildren(...overview(counts, step, choosing));
        body.dataset.shown = key;
        if (on) [...body.querySelectorAll("button")].find((button) => button.textContent === on)?.focus();
      }
    }
    foot.textContent = drafts.size ? `${drafts.size} ${drafts.size === 1 ? "draft waits" : "drafts wait"} in the console to be published.` : "Nothing is changed before you publish it in the console.";
    if (focus) (root.getElementById(focus) as HTMLElement | null)?.focus();
    draw();
  };

  /** Looks at a control again: what it says may have changed. */
  const look = (el: Element): Known => {
    const shown = isExcluded(el) ? null : shownOf(el);
    const text = JSON.stringify(shown);
    const before = known.get(el);
    if (before?.text === text) return before;
    const now: Known = { shown, text, seen: shown ? undefined : null };
    known.set(el, now);
    return now;
  };

  let asking = false;
  let again = false;

  /** Asks for the names of all controls that have none yet. */
  const name = async (): Promise<void> => {
    again = asking;
    if (asking || ended) return;
    asking = true;
    const waiting = controls.map((el) => known.get(el)!).filter((one) => one?.shown && one.seen === undefined);
    while (waiting.length && !ended) {
      const some: Known[] = [];
      for (let bytes = 0; waiting.length && some.length < AT_ONCE && (!some.length || bytes + waiting[0]!.text.length < BYTES); ) {
        bytes += waiting[0]!.text.length;
        some.push(waiting.shift()!);
      }
      const answer = await names(some.map((one) => one.shown!));
      if (answer.status !== 200) {
        refuse(answer.status, answer.body);
        // What is too much for the server is left out, and the others are named.
        if (answer.status !== 400 && answer.status !== 413) break;
        some.forEach((one) => (one.seen = null));
      } else some.forEach((one, at) => (one.seen = answer.seen[at] ?? null));
      if (chosen && !viewOf(chosen)) select(null);
      // A field that somebody types in stays as it is.
      if (!chosen) render();
      else draw();
    }
    asking = false;
    if (again) void name();
  };

  const scan = () => {
    if (ended) return;
    // The tracker has newer ones now and then.
    setSettings((window as unknown as { convizitSettings: Settings }).convizitSettings);
    if (location.href !== address) {
      address = location.href;
      // Names depend on the page.
      controls.forEach((el) => known.delete(el));
      if (chosen) select(null);
    }
    controls = controlsOf(host);
    // What a known one says is looked at again when it is pointed at.
    controls.forEach((el) => known.has(el) || look(el));
    if (!chosen) render();
    else draw();
    void name();
  };

  const select = (el: Element | null) => {
    chosen = el && viewOf(el) ? el : null;
    const view = viewOf(chosen);
    typed = view ? nameOf(view) : "";
    wrong = "";
    say("");
    render(chosen ? "chosen" : undefined);
    if (!chosen) title.focus();
  };

  /** The next control of the page, or the one before. */
  const step = (by: number) => {
    const open = controls.filter((el) => viewOf(el));
    const at = over ? open.indexOf(over) : -1;
    const el = open[(at + by + open.length) % open.length];
    if (!el) return;
    over = el;
    el.scrollIntoView({ block: "center" });
    select(el);
  };

  const refuse = (status: number, answer: Record<string, unknown>) => {
    const text = String(answer.detail || "The collector has refused it.");
    say(text[0]!.toUpperCase() + text.slice(1) + (/[.!]$/.test(text) ? "" : "."), true);
    if (status === 401) {
      sessionStorage.removeItem("convizit");
      choose(false);
      chooseButton.setAttribute("disabled", "");
    }
  };

  /** Saves a draft; where somebody was quicker it says so, and the next try replaces theirs. */
  const save = async (change: Change, subject: string, before: string, done: () => void) => {
    const answer = await ask("draft", { change, before, seen: drafts.get(subject)?.version || 0 });
    const draft = answer.body.draft as Draft | null | undefined;
    if (draft) drafts.set(subject, draft);
    else if (draft === null) drafts.delete(subject);
    wrong = "";
    if (answer.status === 200) {
      say(draft ? "Saved as a draft." : "The draft is taken back: it is as it was.");
      done();
    } else if (answer.status === 409 && draft !== undefined) {
      const what = draft ? (draft.change.change === "rename" ? `“${draft.change.text}”` : draft.change.captured ? "“captured”" : "“not captured”") : "nothing any more";
      say(`${draft?.by || "Somebody"} has drafted ${what} meanwhile. Save again to replace it.`, true);
    } else if (answer.status === 409) {
      const view = viewOf(chosen);
      const now = String(answer.body.now);
      if (view && change.change === "rename") view.seen.text = now;
      else if (view && change.change === "capture_element") view.seen.captured = now === "captured";
      else if (view?.seen.group) view.seen.group.captured = now === "captured";
      say(`In the console it was changed to “${now}” meanwhile. Save again to change that.`, true);
    } else if (answer.status === 422 && change.change === "rename") {
      const text = String(answer.body.detail);
      wrong = text[0]!.toUpperCase() + text.slice(1) + ".";
    } else refuse(answer.status, answer.body);
    render(wrong ? "name" : "chosen");
  };

  const rename = (text: string) => {
    typed = text;
    const seen = viewOf(chosen)?.seen;
    if (seen?.name) void save({ change: "rename", name: seen.name, text }, seen.name, seen.text, () => { typed = text; });
  };

  const capture = (group: boolean, captured: boolean) => {
    const seen = viewOf(chosen)?.seen;
    const word = (is: boolean) => (is ? "captured" : "not captured");
    if (group && seen?.group?.id) void save({ change: "capture_group", group: seen.group.id, captured }, seen.group.id, word(seen.group.captured), () => {});
    else if (!group && seen?.element) void save({ change: "capture_element", element: seen.element, captured }, seen.element, word(seen.captured), () => {});
  };

  const choose = (on: boolean) => {
    choosing = on;
    shield.hidden = !on;
    chooseButton.setAttribute("aria-pressed", String(on));
    useButton.setAttribute("aria-pressed", String(!on));
    over = null;
    if (!chosen) render();
    else draw();
  };

  const hover = (el: Element | null) => {
    if (el === over) return;
    over = el;
    if (el && !controls.includes(el)) controls.push(el);
    if (el && look(el).seen === undefined) void name();
    draw();
  };

  const at = (event: MouseEvent): Element | null => {
    const el = under(host, event.clientX, event.clientY);
    return el && controlAt(el);
  };

  shield.addEventListener("mousemove", (event) => hover(at(event)));
  shield.addEventListener("mouseleave", () => hover(null));
  shield.addEventListener("click", (event) => {
    const el = at(event);
    hover(el);
    const found = el && known.get(el);
    if (el && viewOf(el)) select(el);
    else if (found && (!found.shown || found.seen === null)) say("This one is left out by the page or by a selector of the settings: it sends nothing, and nothing of it is changed here.");
    else if (!el) say("Mere text: nothing happens on a click here.");
  });

  // The page's shortcuts are not meant while somebody types here.
  for (const type of ["keydown", "keyup", "keypress", "input", "click", "mousedown", "pointerdown"]) host.addEventListener(type, (event) => event.stopPropagation());
  const leave = () => (chosen ? select(null) : end());
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
  });
  const keys = (event: KeyboardEvent) => {
    if (event.composedPath()[0] === host || event.target === host) return;
    if (event.key === "Escape" && choosing) leave();
    else if (!choosing || (event.key !== "Enter" && event.key !== " ")) return;
    else {
      const el = document.activeElement && controlAt(document.activeElement);
      if (el && viewOf(el)) select(el);
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  const focused = (event: FocusEvent) => {
    const el = event.composedPath()[0] as Element;
    if (choosing && el !== host && el.nodeType === 1) hover(controlAt(el));
  };

  let due = 0;
  const soon = () => {
    if (!due) due = window.setTimeout(() => { due = 0; scan(); }, 500);
  };
  let drawing = 0;
  const moved = () => {
    if (!drawing) drawing = requestAnimationFrame(() => { drawing = 0; draw(); });
    soon();
  };
  const watcher = new MutationObserver(soon);

  const end = () => {
    ended = true;
    sessionStorage.removeItem("convizit");
    watcher.disconnect();
    removeEventListener("scroll", moved, true);
    removeEventListener("resize", moved);
    removeEventListener("keydown", keys, true);
    removeEventListener("focusin", focused, true);
    host.remove();
  };

  document.documentElement.append(host);
  addEventListener("scroll", moved, { capture: true, passive: true });
  addEventListener("resize", moved);
  addEventListener("keydown", keys, true);
  addEventListener("focusin", focused, true);
  watcher.observe(document.documentElement, { childList: true, subtree: true, attributes: true, characterData: true, attributeFilter: ["class", "hidden", "href", "aria-label", "disabled", "open", "style"] });
  render();
  title.focus();
  void (async () => {
    const answer = await ask("open", { first: !!fresh });
    if (answer.status !== 200) return refuse(answer.status, answer.body);
    const opened = answer.body as unknown as Opened;
    title.textContent = `Convizit · ${opened.project}`;
    title.title = `The link holds until ${new Date(opened.expires).toLocaleTimeString()}`;
    opened.drafts.forEach((draft) => drafts.set(draft.subject, draft));
    scan();
  })();
};

try {
  const given = (window as unknown as { convizitSettings?: Settings }).convizitSettings;
  const script = document.currentScript as HTMLScriptElement | null;
  if (given && script) start(given, script);
} catch (error) {
  console.warn("convizit: the customizer could not start", error);
}
