// Privacy: opting out and in, and a box that is never captured.
import { say } from "./shop.js";

document.querySelector("#out").addEventListener("click", () => { window.convizit?.optOut(); say("Nothing more is captured in this browser."); });
document.querySelector("#in").addEventListener("click", () => { window.convizit?.optIn(); say("Your visit is captured again."); });
