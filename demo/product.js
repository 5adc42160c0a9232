// One product: swatches, sizes, quantity, size chart, rating, and its structured data.
import { money, photo, products, shade } from "./products.js";
import { cards, cart, say } from "./shop.js";
import "./rating.js";

const product = products.find((p) => location.pathname === `/p/${p.slug}`) ?? products[2];
document.title = `${product.name} · Summit & Shore`;
document.querySelector("#crumb").textContent = product.name;

const data = document.createElement("script");
data.type = "application/ld+json";
data.textContent = JSON.stringify({
  "@context": "https://schema.org", "@type": "Product", name: product.name, sku: product.sku,
  brand: { "@type": "Brand", name: product.brand },
  offers: { "@type": "Offer", price: product.price.toFixed(2), priceCurrency: "EUR", availability: "https://schema.org/InStock" },
});
document.head.append(data);

const sizes = product.kind === "Shoes" ? [40, 41, 42, 43] : ["S", "M", "L", "XL"];
const place = document.querySelector("#product");
place.innerHTML = `<div id="photo">${photo(product)}</div>
<section class="panel stack" aria-labelledby="name">
  <h1 id="name">${product.name}</h1>
  <p class="price">${product.was ? `<del>${money(product.was)}</del>` : ""}${money(product.price)}</p>
  <p class="note">By ${product.brand}. In stock, with you in two days.</p>
  <div class="row" role="radiogroup" aria-label="Color">${product.colors.map((color, index) =>
    `<button type="button" class="swatch-button" role="radio" aria-checked="${index === 0}" aria-label="${color}" style="--swatch:${shade(color)}"></button>`).join("")}</div>
  <div class="row">
    <label class="field" for="size">Size <select id="size">${sizes.map((size) => `<option>${size}</option>`).join("")}</select></label>
    <label class="field" for="quantity">Quantity <select id="quantity">${[1, 2, 3, 4, 5].map((n) => `<option>${n}</option>`).join("")}</select></label>
    <button type="button" id="size-chart">Size chart</button>
  </div>
  <div class="row"><button type="button" class="primary" id="add">Add to cart</button>
  <button type="button" aria-pressed="false" id="wish"><svg width="18" height="18" viewBox="0 0 24 24" aria-hidden="true"><path fill="currentColor" d="M12 21S3 14 3 8a5 5 0 0 1 9-3 5 5 0 0 1 9 3c0 6-9 13-9 13z"/></svg><span>Save for later</span></button></div>
  <shop-rating></shop-rating>
</section>`;

const chosen = () => place.querySelector("[aria-checked=true]").getAttribute("aria-label");
place.querySelector("[role=radiogroup]").addEventListener("click", (event) => {
  const swatch = event.target.closest("[role=radio]");
  if (!swatch) return;
  for (const other of place.querySelectorAll("[role=radio]")) other.setAttribute("aria-checked", String(other === swatch));
  document.querySelector("#photo").innerHTML = photo(product, chosen());
});
document.querySelector("#size-chart").addEventListener("click", () => document.querySelector("#size-dialog").showModal());
document.querySelector("#wish").addEventListener("click", (event) => {
  const wish = event.currentTarget;
  wish.setAttribute("aria-pressed", String(wish.getAttribute("aria-pressed") !== "true"));
});
document.querySelector("#add").addEventListener("click", () => {
  const text = (id) => document.querySelector(id).selectedOptions[0].label;
  cart.add(product.slug, chosen(), Number(text("#quantity")), text("#size"));
  say(`${product.name} is in your cart.`);
});
cards(document.querySelector("#cards"), products.filter((p) => p !== product).slice(0, 4));
