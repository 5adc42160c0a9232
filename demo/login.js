// Log in: takes anything, keeps nothing.
import { say } from "./shop.js";

document.querySelector("#login").addEventListener("submit", (event) => {
  event.preventDefault();
  event.target.reset();
  say("You are logged in. (This shop keeps nothing.)");
});
