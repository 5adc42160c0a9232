// The project's published settings, as the collector puts them before the tracker.
// Lists that differ by language or project are the server's: they come with the settings, not with the code.
export interface Settings {
  key: string;
  version: number;
  identity: "cookie+storage" | "storage" | "none";
  cookieDays: number;
  events: string[];
  optionLabels: boolean;
  /** Empty, or a comma and selectors. */
  excludeSelectors: string;
  /** A regular expression; empty when no path is excluded. */
  excludePaths: string;
  /** A regular expression of the query parameters whose values are kept. */
  keepQuery: string;
  /** A regular expression of words that tell a private field; empty means that every form is private. */
  privateFields: string;
  /** A comma and selectors of greetings, accounts and addresses: nothing in them is read where the words of the page's language are not known. */
  privatePlaces: string;
  /** A regular expression of words for "quantity". */
  quantity: string;
  consentRequired: boolean;
  honourGpc: boolean;
  honourDnt: boolean;
  /** Traits of `identify` that may say anything. */
  traits: string[];
  more: boolean;
  /** The address's fragment at the start: a customizer's token, perhaps. */
  hash?: string;
}

export let settings: Settings;

export const setSettings = (next: Settings) => {
  settings = next;
};

/** The server made one expression of the patterns. */
export const excludedPath = (path: string) => !!settings.excludePaths && new RegExp(settings.excludePaths).test(path);
