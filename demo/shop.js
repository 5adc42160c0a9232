// What every page of the shop shares: header, footer, cart, the list of cards.
import { money, photo, products, shade } from "./products.js";

const places = [
  ["/", "Shop"], ["/search", "Search"], ["/app", "Outfit planner"], ["/help", "Help"], ["/login", "Log in"],
];

export const cart = {
  read() {
    try { return JSON.parse(localStorage.getItem("cart") ?? "[]"); } catch { return []; }
  },
  write(items) {
    try { localStorage.setItem("cart", JSON.stringify(items)); } catch { /* the cart is then empty on the next page */ }
    show();
  },
  add(slug, color, quantity, size) {
    this.write([...this.read(), { slug, color, quantity, size }]);
  },
};

function show() {
  const link = document.querySelector("#cart-link");
  const count = cart.read().reduce((sum, item) => sum + item.quantity, 0);
  if (link) link.textContent = `Cart (${count})`;
}

export function say(text) {
  const status = document.querySelector(".status");
  if (status) status.textContent = text;
}

export function card(product) {
  const name = `color-${product.slug}`;
  return `<li class="product-card" data-product="${product.slug}">
    <a href="/p/${product.slug}" tabindex="-1" aria-hidden="true">${photo(product)}</a>
    <h3><a href="/p/${product.slug}">${product.name}</a></h3>
    <p class="price" style="margin:0">${product.was ? `<del>${money(product.was)}</del>` : ""}${money(product.price)}</p>
    <fieldset><legend>Color</legend>${product.colors.map((color, index) =>
      `<label class="swatch" style="--swatch:${shade(color)}"><input type="radio" name="${name}" aria-label="${color}"${index === 0 ? " checked" : ""}></label>`).join("")}
    </fieldset>
    <div class="row">
      <label>Quantity <select>${[1, 2, 3, 4].map((n) => `<option>${n}</option>`).join("")}</select></label>
      <button class="primary add-to-cart" type="button">Add to cart</button>
    </div>
  </li>`;
}

/** Fills a list with cards and makes their buttons work. */
export function cards(list, chosen = products) {
  list.innerHTML = chosen.map(card).join("");
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".add-to-cart");
    if (!button) return;
    const item = button.closest("[data-product]");
    const product = products.find((p) => p.slug === item.dataset.product);
    const color = item.querySelector("input:checked").getAttribute("aria-label");
    const quantity = Number(item.querySelector("select").selectedOptions[0].label);
    cart.add(product.slug, color, quantity);
    say(`${product.name} is in your cart.`);
  });
}

function frame() {
  const here = location.pathname;
  document.body.insertAdjacentHTML("afterbegin", `<header class="site"><div class="bar">
    <a class="brand" href="/">Summit &amp; Shore</a>
    <nav aria-label="Main"><ul>${places.map(([path, label]) =>
      `<li><a href="${path}"${here === path ? ' aria-current="page"' : ""}>${label}</a></li>`).join("")}
      <li><a id="cart-link" href="/cart">Cart (0)</a></li></ul></nav>
    <button type="button" id="play">▶ Play a visit</button>
  </div></header>`);
  document.body.insertAdjacentHTML("beforeend", `<footer class="site"><div class="bar">
    <form id="newsletter" aria-label="Newsletter"><label>Newsletter <input type="email" name="email" autocomplete="email" placeholder="you@example.com" required></label>
    <button>Sign up</button></form>
    <nav aria-label="Footer"><ul><li><a href="/privacy">Privacy</a></li><li><a href="/size-guide.txt" download>Size guide</a></li>
    <li><a href="https://example.com/" rel="noopener">About Convizit</a></li></ul></nav>
  </div></footer><p class="visually-hidden" aria-live="polite" id="live"></p>`);
  document.querySelector("#newsletter").addEventListener("submit", (event) => {
    event.preventDefault();
    event.target.reset();
    document.querySelector("#live").textContent = "Thank you.";
    event.target.querySelector("button").textContent = "Signed up ✓";
  });
  show();
}

if (document.body.dataset.frame !== "none") {
  frame();
  const { button } = await import("./play.js");
  button(document.querySelector("#play"));
}
