// The page block: address without what it may hide, title, language, referrer.
import { settings } from "./config";
import { fold } from "./label";
import { gate, ruleOf, type Receipt } from "./privacy";

/** Query values by list only, no fragment, no user information. */
export const cleanUrl = (href: string): string => {
  try {
    const url = new URL(href, location.href);
    if (!/^https?:$/.test(url.protocol)) return "";
    const query: string[] = [];
    url.searchParams.forEach((value, key) => {
      const kept = new RegExp(settings.keepQuery).test(key);
      if (key.length < 40 && !ruleOf(key) && query.length < 20) query.push(encodeURIComponent(key) + (kept && !ruleOf(value) ? "=" + encodeURIComponent(value) : ""));
    });
    const path = url.pathname.split("/").map((segment) => (ruleOf(segment) ? ":id" : segment)).join("/");
    return (url.origin + path + (query.length ? "?" + query.join("&") : "")).slice(0, 2000);
  } catch {
    return "";
  }
};

export interface Page {
  url: string;
  title: string;
  language: string;
  referrer: string;
  [more: string]: unknown;
}

export const pageBlock = (receipts: Receipt[] = []): Page => ({
  url: cleanUrl(location.href),
  title: gate(fold(document.title).slice(0, 200), "page.title", receipts),
  language: document.documentElement.lang.slice(0, 20),
  referrer: document.referrer && cleanUrl(document.referrer),
});
