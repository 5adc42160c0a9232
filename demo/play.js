// "Play a visit": walks through the shop by itself, one visible step after the other, over page loads.
const key = "play-step";
const pause = 900;

// Each step: the path it happens on, then what is done to which control.
const steps = [
  ["/", choose, "[data-product=trail-shoe] select", "2"],
  ["/", click, "[data-product=trail-shoe] input[aria-label=Red]"],
  ["/", click, "[data-product=trail-shoe] .add-to-cart"],
  ["/", click, "[data-product=trail-shoe] h3 a"],
  ["/p/trail-shoe", click, "#size-chart"],
  ["/p/trail-shoe", click, "#size-dialog button"],
  ["/p/trail-shoe", click, ".swatch-button[aria-label=Black]"],
  ["/p/trail-shoe", choose, "#size", "42"],
  ["/p/trail-shoe", click, "shop-rating", "button:nth-of-type(4)"],
  ["/p/trail-shoe", click, "#add"],
  ["/p/trail-shoe", click, "nav a[href='/app']"],
  ["/app", click, "a[href='/app/shoes']"],
  ["/app/shoes", click, "[role=checkbox]"],
  ["/app/shoes", click, "a[href='/app/bags']"],
  ["/app/bags", click, "nav a[href='/help']"],
  ["/help", click, "#faq summary"],
  ["/help", click, "iframe", "button"],
  ["/help", click, "#cart-link"],
  ["/cart", click, "#checkout"],
  ["/checkout", click, "#express"],
  ["/checkout", click, "#order"],
];

function find(selector, inner) {
  const found = document.querySelector(selector);
  if (!inner || !found) return found;
  return (found.shadowRoot ?? found.contentDocument)?.querySelector(inner) ?? null;
}

function click(element) {
  element.click();
}

function choose(element, label) {
  element.selectedIndex = [...element.options].findIndex((option) => option.label === label);
  element.dispatchEvent(new Event("change", { bubbles: true }));
}

function note(text) {
  let box = document.querySelector(".play-note");
  if (!box) {
    box = document.createElement("p");
    box.className = "play-note";
    box.setAttribute("role", "status");
    document.body.append(box);
  }
  box.textContent = text;
}

const wait = (millis) => new Promise((done) => setTimeout(done, millis));

async function play() {
  for (;;) {
    const number = Number(sessionStorage.getItem(key) ?? -1);
    const step = steps[number];
    if (number < 0) return;
    if (!step) {
      sessionStorage.removeItem(key);
      note("That was the visit. Look at the terminal.");
      return;
    }
    const [path, act, selector, extra] = step;
    if (location.pathname !== path) {
      location.assign(path);
      return;
    }
    let element = null;
    for (let tries = 0; tries < 30 && !element; tries++) {
      element = find(selector, act === click ? extra : undefined);
      if (!element) await wait(100);
    }
    sessionStorage.setItem(key, String(number + 1));
    if (!element) continue;
    note(`Playing a visit: step ${number + 1} of ${steps.length}`);
    element.scrollIntoView({ block: "center", behavior: "smooth" });
    element.classList.add("playing");
    await wait(pause);
    element.classList.remove("playing");
    act(element, extra);
    await wait(pause / 3);
  }
}

export function button(element) {
  const playing = sessionStorage.getItem(key) !== null;
  element.textContent = playing ? "■ Stop the visit" : "▶ Play a visit";
  element.addEventListener("click", () => {
    if (sessionStorage.getItem(key) !== null) {
      sessionStorage.removeItem(key);
      location.reload();
    } else {
      sessionStorage.setItem(key, "0");
      element.textContent = "■ Stop the visit";
      play();
    }
  });
  if (playing) play();
}
