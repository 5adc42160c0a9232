//! Words that vary the recorded texts: two of them before a product's name make 9 025 names of it.

/// How many pairs there are.
pub(crate) const PAIRS: u64 = (LOOKS.len() * STUFFS.len()) as u64;

/// The words of a pair.
pub(crate) fn pair(number: u64) -> (&'static str, &'static str) {
    let number = usize::try_from(number % PAIRS).unwrap_or(0);
    (LOOKS[number % LOOKS.len()], STUFFS[number / LOOKS.len()])
}

const LOOKS: [&str; 95] = [
    "Amber", "Ample", "Apricot", "Arctic", "Autumn", "Azure", "Basic", "Bold", "Breezy", "Bright", "Brisk", "Bronze",
    "Calm", "Charcoal", "Chilly", "Classic", "Clear", "Coastal", "Compact", "Copper", "Coral", "Cosy", "Crimson",
    "Crisp", "Dark", "Deep", "Dense", "Double", "Dusky", "Early", "Easy", "Elegant", "Even", "Faded", "Fine", "Firm",
    "Floral", "Fresh", "Frosted", "Gentle", "Glossy", "Golden", "Grand", "Hardy", "Heavy", "Honest", "Humble",
    "Indigo", "Inner", "Ivory", "Jolly", "Keen", "Lasting", "Lean", "Light", "Lively", "Loose", "Lucky", "Marbled",
    "Mellow", "Mighty", "Misty", "Modern", "Muted", "Narrow", "Neat", "Nimble", "Northern", "Olive", "Outer", "Pale",
    "Plain", "Polar", "Prime", "Quick", "Quiet", "Rapid", "Rough", "Royal", "Rugged", "Rustic", "Sandy", "Scarlet",
    "Sharp", "Silent", "Silver", "Simple", "Sleek", "Smooth", "Soft", "Solid", "Spare", "Steady", "Sturdy", "Sunny",
];

const STUFFS: [&str; 95] = [
    "acorn", "alder", "almond", "anchor", "aspen", "bamboo", "barley", "basalt", "beech", "birch", "bramble", "brook",
    "canvas", "cedar", "cherry", "chestnut", "clay", "cliff", "clover", "cobalt", "cotton", "cove", "creek", "crystal",
    "cypress", "dawn", "delta", "denim", "dune", "dusk", "ember", "fern", "field", "flax", "flint", "fjord", "forest",
    "garnet", "glacier", "glade", "granite", "grove", "harbour", "hazel", "heath", "hemp", "hickory", "hill", "holly",
    "island", "jade", "juniper", "lagoon", "lake", "larch", "laurel", "lava", "leather", "lichen", "linden", "linen",
    "lotus", "maple", "marble", "marsh", "meadow", "merino", "mesa", "moor", "moss", "oak", "ocean", "orchard",
    "pebble", "pepper", "pine", "plum", "prairie", "quartz", "reed", "ridge", "river", "saffron", "sage", "satin",
    "shore", "slate", "spruce", "stone", "thistle", "tide", "valley", "velvet", "walnut", "willow",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_another() {
        let pairs: std::collections::HashSet<_> = (0..PAIRS).map(pair).collect();
        assert_eq!(pairs.len() as u64, PAIRS);
    }
}
