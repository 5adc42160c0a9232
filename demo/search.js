// Search: filters the twelve products as a server would, four to a page.
import { products } from "./products.js";
import { cards, say } from "./shop.js";

const form = document.querySelector("#search");
const list = document.querySelector("#cards");
const pager = document.querySelector("#pager");
let found = products;

function show(page) {
  const fresh = list.cloneNode(false);
  document.querySelector("#cards").replaceWith(fresh);
  cards(fresh, found.slice(page * 4, page * 4 + 4));
  pager.innerHTML = Array.from({ length: Math.ceil(found.length / 4) }, (_, index) =>
    `<li><a class="button" href="?page=${index + 1}"${index === page ? ' aria-current="page"' : ""}>${index + 1}</a></li>`).join("");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = new FormData(form);
  const text = String(wanted.get("q")).toLowerCase();
  found = products.filter((p) => p.name.toLowerCase().includes(text) && (!wanted.get("offers") || p.was));
  show(0);
  say(found.length === 0 ? "Nothing found. Try a shorter word." : `${found.length} products found.`);
});
pager.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  show(Number(link.textContent) - 1);
});
show(0);
