//! Whose events a frame holds, without saying it: keyed hashes, and a filter of them beside each frame.
//!
//! While a frame is still to be merged, its filter is a list of 4 bytes for each person, so that a merge need not read the
//! events; a frame that is full, or whose day is over, gets a Bloom filter of 11 bits for each person (Bloom 1970: with 8
//! probes about one in 200 others is taken for one that is there).

use convizit_keys::MacKey;
use convizit_model::Person;

/// Bytes of a keyed hash: enough that no two persons share one.
pub(crate) const HASH: usize = 16;
/// The keyed hash of a project's visitor or user.
pub(crate) type PersonHash = [u8; HASH];

/// First byte of a list, and of a Bloom filter.
const LIST: u8 = 0;
const BLOOM: u8 = 1;
const BITS: usize = 11;
const PROBES: u64 = 8;

/// Makes keyed hashes of persons.
#[derive(Clone)]
pub(crate) struct PersonHasher(pub(crate) MacKey);

impl PersonHasher {
    pub(crate) fn of(&self, project: i64, kind: &str, id: &str) -> PersonHash {
        let message = [&project.to_be_bytes(), kind.as_bytes(), b"\n", id.as_bytes()].concat();
        let mut hash = [0; HASH];
        for (to, from) in hash.iter_mut().zip(self.0.of(&message)) {
            *to = from;
        }
        hash
    }

    pub(crate) fn person(&self, project: i64, person: &Person) -> PersonHash {
        self.of(project, person.kind(), person.id())
    }
}

fn short(hash: &PersonHash) -> u32 {
    hash.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The filter of a frame that may still be merged.
pub(crate) fn list<'a>(hashes: impl Iterator<Item = &'a PersonHash>) -> Vec<u8> {
    let mut shorts: Vec<u32> = hashes.map(short).collect();
    shorts.sort_unstable();
    shorts.dedup();
    write_list(&shorts)
}

fn write_list(shorts: &[u32]) -> Vec<u8> {
    let mut filter = Vec::with_capacity(1 + shorts.len() * 4);
    filter.push(LIST);
    filter.extend(shorts.iter().flat_map(|short| short.to_be_bytes()));
    filter
}

fn read_list(filter: &[u8]) -> Option<impl Iterator<Item = u32> + '_> {
    let (&form, rest) = filter.split_first()?;
    (form == LIST).then(|| rest.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes)))
}

/// The filter of a merged frame; `None` when a part of it is not a list any more.
pub(crate) fn join<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut shorts = Vec::new();
    for part in parts {
        shorts.extend(read_list(part)?);
    }
    shorts.sort_unstable();
    shorts.dedup();
    Some(write_list(&shorts))
}

/// A list as a Bloom filter; what is one already stays as it is.
pub(crate) fn pack(filter: Vec<u8>) -> Vec<u8> {
    let Some(shorts) = read_list(&filter) else { return filter };
    let shorts: Vec<u32> = shorts.collect();
    let mut packed = vec![0; 1 + (shorts.len() * BITS).div_ceil(8)];
    packed[0] = BLOOM;
    let bits = (packed.len() - 1) * 8;
    for short in shorts {
        for at in probes(short, bits) {
            if let Some(byte) = packed.get_mut(1 + at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
    }
    packed
}

/// Where a hash leaves its bits: two hashes of it, added up (Kirsch and Mitzenmacher 2006).
fn probes(short: u32, bits: usize) -> impl Iterator<Item = usize> {
    let (first, second) = (u64::from(short), (u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) | 1);
    (0..PROBES)
        .filter(move |_| bits > 0)
        .map(move |probe| usize::try_from(first.wrapping_add(probe.wrapping_mul(second)) % bits as u64).unwrap_or(0))
}

/// Whether a frame may hold events of a person: false only when it does not.
pub(crate) fn may_hold(filter: &[u8], hash: &PersonHash) -> bool {
    match filter.split_first() {
        Some((&LIST, rest)) => rest.as_chunks().0.binary_search(&short(hash).to_be_bytes()).is_ok(),
        Some((&BLOOM, [])) => false,
        Some((&BLOOM, bits)) => {
            probes(short(hash), bits.len() * 8).all(|at| bits.get(at / 8).is_some_and(|byte| byte & 1 << (at % 8) != 0))
        }
        // Nobody knows: it is looked into.
        _ => true,
    }
}

/// Whether a filter has the form of one: where damage took it, it says nothing.
fn is_whole(filter: &[u8]) -> bool {
    match filter.split_first() {
        Some((&LIST, rest)) => {
            let (shorts, left) = rest.as_chunks::<4>();
            left.is_empty() && shorts.is_sorted_by(|before, after| before < after)
        }
        // Whoever is in it has left bits.
        Some((&BLOOM, bits)) => bits.is_empty() || bits.iter().any(|byte| *byte != 0),
        _ => false,
    }
}

/// Whether a frame may hold events of any of these persons: of everybody, where its filter is damaged.
pub(crate) fn may_hold_any<'a>(filter: &[u8], mut hashes: impl Iterator<Item = &'a PersonHash>) -> bool {
    let is_whole = is_whole(filter);
    hashes.any(|hash| !is_whole || may_hold(filter, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_keys::KeyRing;

    fn hashes(count: u32, from: u32) -> Vec<PersonHash> {
        let hasher = PersonHasher(KeyRing::ephemeral().unwrap().mac_key("person"));
        (from..from + count).map(|n| hasher.of(1, "visitor", &n.to_string())).collect()
    }

    #[test]
    fn everyone_who_is_there_is_found_and_few_others() {
        for count in [1, 2, 7, 100, 1_000] {
            let (all, others) = (hashes(count, 0), hashes(10_000, 1_000_000));
            let filter = list(all.iter());
            let packed = pack(filter.clone());
            for filter in [&filter, &packed] {
                assert!(all.iter().all(|hash| may_hold(filter, hash)));
            }
            let mistaken = others.iter().filter(|hash| may_hold(&packed, hash)).count();
            assert!(mistaken <= if count < 100 { 2_000 } else { 150 }, "{mistaken} of 10 000 with {count}");
            if count >= 16 {
                assert!(packed.len() * 8 <= count as usize * 12, "{} bytes for {count}", packed.len());
            }
        }
    }

    #[test]
    fn lists_join_and_packed_ones_do_not() {
        let (one, two) = (hashes(5, 0), hashes(5, 10));
        let (a, b) = (list(one.iter()), list(two.iter()));
        let both = join([a.as_slice(), &b, &a].into_iter()).unwrap();
        assert_eq!(both.len(), 1 + 10 * 4);
        assert!(one.iter().chain(&two).all(|hash| may_hold(&both, hash)));
        assert_eq!(join([a.as_slice(), &pack(b)].into_iter()), None);
        assert!(!may_hold(&list([].iter()), &one[0]) && !may_hold(&pack(list([].iter())), &one[0]));
        assert!(may_hold(&[], &one[0]), "without a filter everything is looked into");
    }

    #[test]
    fn a_filter_that_lost_its_form_says_that_everybody_may_be_there() {
        let (there, others) = (hashes(20, 0), hashes(50, 1_000));
        let list = list(there.iter());
        let mut swapped = list.clone();
        swapped[1..9].rotate_left(4);
        let packed = pack(list.clone());
        let mut emptied = packed.clone();
        emptied[1..].fill(0);
        for damaged in [swapped, list[..list.len() - 1].to_vec(), emptied, vec![7, 1, 2], Vec::new()] {
            assert!(others.iter().all(|other| may_hold_any(&damaged, [other].into_iter())), "{damaged:?}");
        }
        let mistaken = others.iter().filter(|other| may_hold_any(&list, [*other].into_iter())).count();
        assert_eq!(mistaken, 0, "a whole one tells them apart");
        assert!(
            !may_hold_any(&packed, [].into_iter()) && !may_hold_any(&[7], [].into_iter()),
            "of nobody it holds none"
        );
    }

    #[test]
    fn projects_and_kinds_have_hashes_of_their_own() {
        let hasher = PersonHasher(KeyRing::ephemeral().unwrap().mac_key("person"));
        let one = hasher.person(1, &Person::Visitor("a".to_owned()));
        assert_eq!(one, hasher.person(1, &Person::Visitor("a".to_owned())));
        assert_ne!(one, hasher.person(2, &Person::Visitor("a".to_owned())));
        assert_ne!(one, hasher.person(1, &Person::User("a".to_owned())));
    }
}
