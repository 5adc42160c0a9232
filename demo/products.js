// The shop's twelve products, and a drawn photo of each.
export const products = [
  { slug: "rain-jacket", name: "Rain jacket", price: 129.0, sku: "RJ-1", brand: "Nordfell", colors: ["Blue", "Green", "Black"], kind: "Tops" },
  { slug: "merino-shirt", name: "Merino shirt", price: 64.5, sku: "MS-2", brand: "Nordfell", colors: ["Grey", "Green", "Red"], kind: "Tops" },
  { slug: "trail-shoe", name: "Trail shoe", price: 89.9, was: 109.9, sku: "TS-3", brand: "Farrow", colors: ["Blue", "Red", "Black"], kind: "Shoes" },
  { slug: "road-shoe", name: "Road shoe", price: 99.9, sku: "RS-4", brand: "Farrow", colors: ["Grey", "Red"], kind: "Shoes" },
  { slug: "running-socks", name: "Running socks", price: 12.9, sku: "SO-5", brand: "Loopwool", colors: ["Grey", "Blue", "Red"], kind: "Accessories" },
  { slug: "day-pack", name: "Day pack", price: 74.0, sku: "DP-6", brand: "Nordfell", colors: ["Green", "Black"], kind: "Bags" },
  { slug: "water-bottle", name: "Water bottle", price: 18.5, sku: "WB-7", brand: "Klar", colors: ["Blue", "Grey", "Green"], kind: "Accessories" },
  { slug: "head-torch", name: "Head torch", price: 39.9, sku: "HT-8", brand: "Klar", colors: ["Black", "Red"], kind: "Accessories" },
  { slug: "wool-beanie", name: "Wool beanie", price: 24.9, sku: "BE-9", brand: "Loopwool", colors: ["Red", "Grey", "Blue"], kind: "Accessories" },
  { slug: "wind-vest", name: "Wind vest", price: 54.0, sku: "WV-10", brand: "Nordfell", colors: ["Blue", "Black"], kind: "Tops" },
  { slug: "hiking-poles", name: "Hiking poles", price: 79.0, sku: "HP-11", brand: "Farrow", colors: ["Black", "Red"], kind: "Accessories" },
  { slug: "camp-mug", name: "Camp mug", price: 14.9, sku: "CM-12", brand: "Klar", colors: ["Green", "Blue", "Red"], kind: "Accessories" },
];

const shades = { Blue: "#2f6fb3", Red: "#c0392b", Green: "#2e8b57", Black: "#22262e", Grey: "#8d96a5" };

export const shade = (color) => shades[color] ?? "#999";
export const money = (amount) => `€${amount.toFixed(2)}`;

const shapes = {
  Tops: "M70 60l30-18 20 14h40l20-14 30 18-16 34-18-8v74h-72V86l-18 8z",
  Shoes: "M60 130c20 0 34-24 44-50l34 14c6 24 30 34 62 38 16 2 20 12 20 24H60z",
  Bags: "M95 70c0-40 90-40 90 0v16h10v80H85V86h10zm16 0v16h58V70c0-18-58-18-58 0z",
  Accessories: "M110 50h60l10 30v70a16 16 0 0 1-16 16h-48a16 16 0 0 1-16-16V80z",
};

/** An inline drawing instead of a photo: no file, no licence. */
export function photo(product, color = product.colors[0]) {
  return `<svg class="photo" viewBox="0 0 280 200" role="img" aria-label="${product.name}"><rect width="280" height="200" fill="${shade(color)}22"/><path d="${shapes[product.kind]}" fill="${shade(color)}"/></svg>`;
}
