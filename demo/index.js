// The list of products.
import { cards } from "./shop.js";

cards(document.querySelector("#cards"));
