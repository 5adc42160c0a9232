// The cart: change quantities, remove, go on to the checkout.
import { money, products } from "./products.js";
import { cart } from "./shop.js";

const place = document.querySelector("#cart");

function show() {
  const items = cart.read();
  if (items.length === 0) {
    place.innerHTML = '<p>Your cart is empty. <a href="/">Look at the products</a> and put something in.</p>';
    return;
  }
  const total = items.reduce((sum, item) => sum + item.quantity * (products.find((p) => p.slug === item.slug)?.price ?? 0), 0);
  place.innerHTML = `<table class="panel"><caption class="visually-hidden">Cart items</caption><thead><tr><th>Product</th><th>Color</th><th>Quantity</th><th>Price</th><th></th></tr></thead>
  <tbody>${items.map((item) => {
    const product = products.find((p) => p.slug === item.slug);
    return `<tr><td><a href="/p/${item.slug}">${product.name}</a></td><td>${item.color}</td><td>${item.quantity}</td><td>${money(product.price * item.quantity)}</td>
      <td><button type="button" class="remove">Remove</button></td></tr>`;
  }).join("")}</tbody></table><p class="price">Total ${money(total)}</p><a class="button primary" id="checkout" href="/checkout">Go to checkout</a>`;
}

place.addEventListener("click", (event) => {
  if (!event.target.closest(".remove")) return;
  const index = [...place.querySelectorAll(".remove")].indexOf(event.target);
  cart.write(cart.read().filter((_, at) => at !== index));
  show();
});
show();
