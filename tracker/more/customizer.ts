// Where the console sent a person to this page, or to an earlier one of the tab, the customizer is loaded.
const settings = (window as unknown as { convizitSettings: { hash: string } }).convizitSettings;
if (/#convizit=/.test(settings.hash) || sessionStorage.convizit) {
  const overlay = document.createElement("script");
  overlay.src = (document.currentScript as HTMLScriptElement).src.replace("more.js", "overlay.js");
  document.head.append(overlay);
}

export {};
