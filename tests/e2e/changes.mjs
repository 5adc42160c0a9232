// What happens to a page between two visits: builds, shops, translators and tests change it. Runs inside the page.

/** Puts everything that the naming test asks of a page into `window.changes`. */
export function changesOfPages() {
  const CONTROLS = "a[href],button,input:not([type=hidden]),select,textarea,summary,[role=button],[role=tab],[role=switch],[role=checkbox]";
  const FIELDS = "input:not([type=button],[type=submit],[type=reset],[type=image]),select,textarea";
  // Marks are properties under symbols: the tracker reads attributes and texts only.
  const mark = Symbol("control");
  const titled = Symbol("title of an item");
  const fold = (text) => (text ?? "").replace(/\s+/g, " ").trim();

  /** Every match in the document and in its open shadow roots, in order. */
  const all = (selector, root = document) =>
    [...root.querySelectorAll("*")].flatMap((el) => [...(el.matches(selector) ? [el] : []), ...(el.shadowRoot ? all(selector, el.shadowRoot) : [])]);

  /** What a control says and does, as its author meant it: equal for items of one list at equal places, different otherwise. */
  const meaning = (el, items) => {
    const says = el.getAttribute("aria-label") || fold(el.labels?.[0]?.textContent) || fold(el.textContent) || el.querySelector("img")?.alt || el.name || "";
    if (el.type === "radio" || el.getAttribute("role") === "radio") {
      const set = el.closest("fieldset,[role=radiogroup]");
      return `one of ${set.querySelector("legend")?.textContent ?? set.getAttribute("aria-label")}`;
    }
    const list = items.find((selector) => el.closest(selector));
    if (list) {
      const item = el.closest(list);
      const pathOf = (at) => {
        const steps = [];
        for (; at !== item; at = at.parentElement) steps.unshift(at.localName);
        return steps.join(">");
      };
      const path = pathOf(el);
      const controls = all(CONTROLS, item);
      // A picture and a title that lead to the same place are one way.
      if (el.href) return `${list}: way ${[...new Set(controls.map((other) => other.href).filter(Boolean))].indexOf(el.href)}`;
      return `${list}: ${path} ${controls.filter((other) => pathOf(other) === path).indexOf(el)}`;
    }
    const around = el.closest("form,section,dialog,[role=dialog],[role=tabpanel],footer,header");
    const href = el.getAttribute("href")?.replace(/[?#].*/, "");
    return JSON.stringify([says.replace(/\d+/g, "#"), href || [el.localName, el.name ?? "", around?.id ?? "", around?.querySelector("h1,h2,h3,legend")?.textContent ?? ""]]);
  };

  let seed = 1;
  const next = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 4294967296;
  };
  const pick = (list) => list[Math.floor(next() * list.length)];
  const letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  const hashes = new Map();
  /** As a build makes it: six letters and digits, the same for the same text. */
  const hashOf = (text) => {
    if (!hashes.has(text)) hashes.set(text, Array.from({ length: 6 }, () => pick(letters)).join(""));
    return hashes.get(text);
  };
  const templates = new Map();
  /** A share of 0 to 1 that is the same for all that one template makes: a deploy changes every card, not the third. */
  const dice = (el) => {
    const key = [el, el.parentElement].map((at) => `${at.localName}.${at.className}`).join(" < ");
    if (!templates.has(key)) templates.set(key, next());
    return templates.get(key);
  };
  const texts = () => {
    const out = [];
    for (const root of [document.body, ...all("*").flatMap((el) => el.shadowRoot ?? [])]) {
      const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      while (walk.nextNode()) if (walk.currentNode.data.trim() && !/^(script|style)$/.test(walk.currentNode.parentElement.localName)) out.push(walk.currentNode);
    }
    return out;
  };
  const spoken = ["aria-label", "title", "alt", "placeholder"];
  /** Lists: whose children are all of one kind. */
  const lists = () => [...document.body.querySelectorAll("ul,ol,tbody,.results,.cards,.thumbs")].filter((list) => list.childElementCount > 2 && new Set([...list.children].map((item) => item.localName)).size === 1);
  const accents = { a: "à", c: "ç", e: "é", i: "î", n: "ñ", o: "ö", s: "š", u: "û", y: "ý", A: "Å", C: "Č", E: "É", I: "Î", N: "Ñ", O: "Ø", S: "Š", U: "Û", Y: "Ý" };
  /** Accents on the letters and a third more of them, as a pseudo-locale has; what has no letters is the same in every language. */
  const pseudo = (text) => text.replace(/\S.*\S|\S/s, (said) => /\p{L}/u.test(said) ? said.replace(/[a-z]/gi, (letter) => accents[letter] ?? letter) + " " + "ẋ".repeat(Math.ceil(said.length / 3)) : said);
  const become = (el, name, attributes) => {
    const other = document.createElement(name);
    for (const { name: key, value } of [...el.attributes]) if (!/^(href|type|role)$/.test(key)) other.setAttribute(key, value);
    for (const [key, value] of Object.entries(attributes)) other.setAttribute(key, value);
    other[mark] = el[mark];
    other.append(...el.childNodes);
    el.replaceWith(other);
  };

  const kinds = {
    class() {
      for (const el of all("[class]")) {
        const tokens = [...el.classList].map((token) => (hashOf(token) < "M" ? `${token}__${hashOf(token)}` : `css-${hashOf(token)}`));
        el.setAttribute("class", tokens.join(" "));
      }
    },
    // What is pointed to is renamed, as a framework numbers its ids anew; the others are gone.
    id() {
      const pointers = ["for", "aria-labelledby", "aria-controls", "aria-describedby", "form", "list"];
      const used = new Set(pointers.flatMap((name) => all(`[${name}]`).flatMap((el) => el.getAttribute(name).split(" "))));
      const renamed = (id) => `:r${hashOf(id)}:`;
      for (const name of pointers) for (const el of all(`[${name}]`)) el.setAttribute(name, el.getAttribute(name).split(" ").map(renamed).join(" "));
      for (const el of all("[id]")) {
        if (used.has(el.id)) el.id = renamed(el.id);
        else el.removeAttribute("id");
      }
    },
    shuffle() {
      for (const list of lists()) for (const item of [...list.children].map((item) => [next(), item]).sort(([a], [b]) => a - b)) list.append(item[1]);
    },
    wrap() {
      for (const el of [...document.body.querySelectorAll("div,section,article,form,button,a")]) {
        if (dice(el) > 0.2) continue;
        const around = document.createElement("div");
        around.className = "slot";
        el.replaceWith(around);
        around.append(el);
      }
    },
    unwrap() {
      for (const el of [...document.body.querySelectorAll("div:not([role])")]) if (dice(el) < 0.7 && (el.childElementCount === 1 || el.matches(":only-child"))) el.replaceWith(...el.childNodes);
    },
    banner() {
      document.body.insertAdjacentHTML("afterbegin", '<div class="notice"><p>We are closed on Monday.</p><a href="/news/monday">Read why</a><button type="button" aria-label="Dismiss">×</button></div>');
    },
    variant() {
      const places = [...document.querySelectorAll("main > *, main section > * + *")];
      pick(places).insertAdjacentHTML("beforebegin", '<section class="trial"><h2>Try it at home</h2><p>Thirty days, then decide.</p><a href="/trial">Start the trial</a><button type="button">Maybe another day</button></section>');
    },
    items() {
      for (const list of lists()) {
        const items = [...list.children];
        if (items.length < 4) continue;
        const fresh = pick(items).cloneNode(true);
        pick(items).remove();
        list.insertBefore(fresh, pick([...list.children]));
      }
    },
    pseudo() {
      for (const text of texts()) text.data = pseudo(text.data);
      for (const name of spoken) for (const el of all(`[${name}]`)) if (el.getAttribute(name)) el.setAttribute(name, pseudo(el.getAttribute(name)));
      document.title = pseudo(document.title);
      document.documentElement.lang = "qps-ploc";
    },
    price() {
      for (const text of texts()) text.data = text.data.replace(/\d/g, () => String(1 + Math.floor(next() * 9)));
      for (const data of document.querySelectorAll("[type='application/ld+json']")) data.textContent = data.textContent.replace(/("price":\s*")[^"]+/g, (_, key) => `${key}${1 + Math.floor(next() * 900)}.00`);
    },
    role() {
      for (const el of all("button:not([role])")) become(el, ...(dice(el) < 0.5 ? ["div", { role: "button", tabindex: "0" }] : ["a", { role: "button", href: "#" }]));
      for (const el of all(".cta,.button[href],.link-like[href]")) if (el.localName === "a") become(el, "button", { type: "button" });
    },
    minify() {
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_COMMENT);
      const gone = [];
      while (walk.nextNode()) {
        const node = walk.currentNode;
        if (node.nodeType === 8 || (!node.data.trim() && node.data.includes("\n"))) gone.push(node);
        else if (!/^(script|style)$/.test(node.parentElement.localName)) node.data = node.data.replace(/\s+/g, " ");
      }
      gone.forEach((node) => node.remove());
    },
  };

  const describe = (el) => globalThis.convizitDescribe(el, el.matches(FIELDS) ? "change" : "click");
  window.changes = {
    kinds: Object.keys(kinds),
    describeAll: () => all(CONTROLS).map(describe),
    /** Numbers the controls in the order of the page; what each means, by number. */
    stamp({ items, titles }) {
      const controls = all(CONTROLS);
      controls.forEach((el, at) => (el[mark] = at + 1));
      all(titles).forEach((el) => (el[titled] = true));
      return controls.map((el) => meaning(el, items));
    },
    change(names, start) {
      seed = start;
      for (const name of names) kinds[name]();
    },
    /** The page and its controls as the tracker sees them; those that a change brought have no number. */
    read() {
      const controls = all("*").filter((el) => el[mark]).flatMap((el) => {
        const descriptor = describe(el);
        return descriptor ? [{ number: el[mark], descriptor }] : [];
      });
      return { page: globalThis.convizitPage(), controls, titles: all("*").filter((el) => el[titled]).map((el) => fold(el.textContent)) };
    },
  };
}
