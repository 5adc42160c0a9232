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
  // What is typed shows at once what it would come to: the same form, sent with the button's own word, of which one part is taken.
  for (const button of document.querySelectorAll("button[data-look]")) {
    const { form } = button;
    const part = document.getElementById(button.dataset.look);
    const around = document.getElementById(button.dataset.from);
    let [timer, newest] = [0, 0];
    const look = async () => {
      const mine = ++newest;
      const fields = new FormData(form);
      // Nobody is shown a secret, so none is sent.
      for (const secret of form.querySelectorAll("input[type=password]")) fields.delete(secret.name);
      fields.set(button.name, button.value);
      try {
        const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(fields), headers: { accept: "text/html" }, redirect: "error" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const found = page.getElementById(part.id);
        if (found && mine === newest) {
          part.replaceChildren(...found.childNodes);
          // What is wrong stands at its field, too.
          for (const old of form.querySelectorAll(".wrong[id]")) old.remove();
          for (const field of form.querySelectorAll("[aria-invalid]")) for (const one of ["aria-invalid", "aria-describedby"]) field.removeAttribute(one);
          for (const wrong of page.querySelectorAll(".wrong[id]")) {
            const field = form.querySelector(`[name="${CSS.escape(wrong.id.slice(6))}"]`);
            field?.setAttribute("aria-invalid", "true");
            field?.setAttribute("aria-describedby", wrong.id);
            field?.after(wrong);
          }
        }
      } catch {
        // The session has ended or the server is away: the button still says so.
      }
    };
    around.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(look, 600);
    });
    button.addEventListener("click", (event) => {
      event.preventDefault();
      clearTimeout(timer);
      around.open = true;
      look();
    });
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
