// What a page does beyond its forms: parts that refresh themselves, and buttons that copy. Every page works without it.
(() => {
  "use strict";
  // On a narrow screen the current page's link may be out of sight.
  for (const link of document.querySelectorAll(".top [aria-current=page], .tabs [aria-current=page]")) link.scrollIntoView({ block: "nearest", inline: "center" });
  for (const part of document.querySelectorAll("[data-refresh]")) {
    let said = part.innerHTML;
    const from = new URL(part.dataset.refresh, location);
    let pause = 2000;
    const again = async () => {
      if (document.visibilityState === "visible") {
        try {
          const answer = await fetch(from, { headers: { accept: "text/html" }, redirect: "error" });
          if (!answer.ok) return;
          // A part that shows what comes waits on the server for something newer than this.
          const newest = answer.headers.get("convizit-newest");
          if (newest) {
            from.searchParams.set("after", newest);
            pause = 500;
          }
          const text = await answer.text();
          // What a person reads or types in is left alone until it changes.
          if (text !== said && !part.contains(document.activeElement)) {
            part.innerHTML = said = text;
          }
        } catch {
          // The session has ended or the server is away: the page stays as it is.
          return;
        }
      }
      setTimeout(again, pause);
    };
    setTimeout(again, 500);
  }
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      await navigator.clipboard.writeText(source.textContent);
      const before = button.textContent;
      button.textContent = button.dataset.copied;
      setTimeout(() => { button.textContent = before; }, 2000);
    });
  }
})();
