// Help: questions, a video, a same-origin frame, downloads and a link that leaves.
import "./shop.js";

document.querySelector("#print").addEventListener("click", () => window.print());
