// What a page shows of the product it sells, for pages whose own data do not say: price, number, availability.
import type { Reader } from "./rich";
import { articleNumber, buy } from "./words.json";

const NUMBER = new RegExp(articleNumber, "i");
const BUY = new RegExp(buy, "i");

/** Texts behind the heading that are looked at, and the characters of their surroundings that are read in all. */
const TEXTS = 3000;
const READ = 1_000_000;

export interface Shown {
  _name: string;
  _price: string;
  _number: string;
  _stock: string;
  /** Whether the page sells one product: its buy button and price stand with the heading, or its address has the number. */
  _sold: boolean;
}

/** What is written in an element, as far as it may be read. */
export const textWith = ({ _fold, _skips }: Reader) => {
  const textOf = (el: Element): string =>
    _fold([...el.childNodes].map((node) => (node.nodeType === 3 ? node.nodeValue : node.nodeType === 1 && !_skips(node as Element) ? textOf(node as Element) + " " : "")).join(""));
  return textOf;
};

/**
 * Looks below the page's own heading; `address` is where the page says it stands, `own` whether its data say that it is a
 * product's. Where neither they nor a button to buy nor a number in the address do, nothing is looked at.
 */
export const shownOf = ({ _fold, _mayRead, _price }: Reader, textOf: (el: Element) => string, address: string, own: boolean): Shown => {
  const all = (selector: string, most: number) => [...document.querySelectorAll(selector)].slice(0, most);
  const called = (el: Element) => el.getAttribute("class") + " " + el.id;
  const headings = all("h1", 20).filter(_mayRead);
  // Dialogs have headings too: the page's own is the one that its title repeats.
  const heading = headings.find((el) => document.title.includes(textOf(el).slice(0, 30) || "\0")) || headings[0];
  const seen = (el: Element) => heading && heading.compareDocumentPosition(el) & 4 && el.checkVisibility?.() !== false && _mayRead(el);
  const bought = all("button,[type=submit],[type=button],[role=button],a", 2000).some((el) => BUY.test(el.textContent!.trim().slice(0, 40) + el.getAttribute("value") + called(el)) && seen(el));
  let [price, old, number, stock] = ["", "", "", ""];
  let around: Element | null = null;
  if (own || bought || (heading && /\d[A-Z\d]{4}/.test(address))) {
    const tried = new Set<Element>();
    const texts = document.createTreeWalker(document.body, 4);
    if (heading) texts.currentNode = heading;
    let left = READ;
    for (let count = 0, node; count++ < TEXTS && left > 0 && (node = texts.nextNode()); ) {
      const said = node.nodeValue!;
      if (said.length > 200 || !/\d/.test(said)) continue;
      let cost = "";
      let of: Element | null = null;
      // "$" and "12" may be elements of their own, and so may "Item no." be.
      for (let el = node.parentElement, climb = 0; el && climb < 5 && el.childElementCount < 7 && !tried.has(el); el = el.parentElement, climb++) {
        tried.add(el);
        const raw = el.textContent!;
        left -= raw.length;
        if (raw.length > 400) break;
        const all = _fold(raw);
        if (all.length > 80) break;
        const its = called(el);
        const priced = /pri[cx]|prei[sx]|prec?z/i.test(its);
        // What is hidden or excluded is cut out of what may be something.
        const text = priced || /\d\d\S*$/.test(all) || _price.test(all) ? textOf(el) : "";
        const found = NUMBER.exec(text)?.[1];
        if (found && (!number || (address.includes(found) && !address.includes(number))) && el.checkVisibility?.() !== false && _mayRead(el)) number = found;
        // Cents may be raised instead of separated.
        const [sum] = (text.length < 20 && /^\D*\d+ \d\d\D*$/.exec(text)) || (text.length < 40 && _price.exec(text)) || (text.length < 20 && /\d[\d., ]*/.exec(text)) || [""];
        if ((priced || _price.test(text)) && /[1-9]/.test(sum) && seen(el)) [cost, of] = [sum, el];
      }
      if (of) {
        // What is struck through is no longer asked.
        if (of.closest("del,s,strike") || of.querySelector("del,s,strike") || /\bold|strike|list-?price/i.test(called(of))) old ||= cost;
        else if (!price) [price, around] = [cost, of];
      }
    }
    for (const el of all("[class*=tock],[class*=vail],[class*=ispo],[id*=tock],[id*=vail],[id*=ispo]", 100)) {
      if (stock.length < 60 && el.textContent!.length < 200 && seen(el)) stock += textOf(el).slice(0, 80) + " ";
    }
    // A price belongs to the nearest heading or picture with a link around it: in a list that is a card's.
    while (around && !around.querySelector("h1,h2,h3,h4,a img")) around = around.parentElement;
  }
  return {
    _name: heading ? textOf(heading) : "",
    _price: price || old,
    _number: number,
    _stock: stock + (bought ? "InStock" : ""),
    _sold: !!heading && !!((bought && around?.contains(heading)) || (number && address.includes(number) && (price || stock))),
  };
};
