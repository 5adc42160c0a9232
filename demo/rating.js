// A web component with an open shadow root: five stars.
class ShopRating extends HTMLElement {
  connectedCallback() {
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>button{font:inherit;font-size:1.3rem;background:none;border:0;padding:.2rem;cursor:pointer;color:#e0822b}</style>
      <div role="group" aria-label="Rating">${[1, 2, 3, 4, 5].map((n) => `<button type="button" aria-label="Rate ${n} stars"><span>☆</span></button>`).join("")}</div>`;
    root.addEventListener("click", (event) => {
      const buttons = [...root.querySelectorAll("button")];
      const index = buttons.indexOf(event.target.closest("button"));
      if (index >= 0) buttons.forEach((button, at) => { button.firstChild.textContent = at <= index ? "★" : "☆"; });
    });
  }
}
customElements.define("shop-rating", ShopRating);
