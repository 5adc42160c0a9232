// A single-page section with client-side routes through the History API.
import "./shop.js";
import { products } from "./products.js";

const routes = { "/app": null, "/app/tops": "Tops", "/app/shoes": "Shoes", "/app/bags": "Bags" };
const tabs = document.querySelector("#tabs");
const view = document.querySelector("#view");

function show() {
  const kind = routes[location.pathname];
  document.title = `${kind ?? "Outfit planner"} · Summit & Shore`;
  tabs.innerHTML = Object.entries(routes).map(([path, label]) =>
    `<li><a class="button" href="${path}"${location.pathname === path ? ' aria-current="page"' : ""}>${label ?? "Start"}</a></li>`).join("");
  view.innerHTML = kind
    ? `<h2>${kind}</h2><ul class="stack" style="list-style:none;padding:0">${products.filter((p) => p.kind === kind).map((p) =>
        `<li class="panel"><div role="checkbox" aria-checked="false" tabindex="0" style="cursor:pointer">${p.name}</div></li>`).join("")}</ul>`
    : "<p>Choose a top, shoes and a bag.</p>";
}

tabs.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  show();
});
view.addEventListener("click", (event) => {
  const box = event.target.closest("[role=checkbox]");
  if (box) box.setAttribute("aria-checked", String(box.getAttribute("aria-checked") !== "true"));
});
addEventListener("popstate", show);
show();
