//! Whose events a frame holds, without saying it: keyed hashes, and a filter of them beside each frame.
//!
//! While a frame is still to be merged, its filter is a list of 4 bytes for each person, so that a merge need not read the
//! events; a frame that is full, or whose day is over, gets a Bloom filter of 11 bits for each person (Bloom 1970: with 8
//! probes about one in 200 others is taken for one that is there). A checksum of 8 bytes stands behind either: where it does not fit,
//! everybody may be in the frame.

use convizit_keys::MacKey;
use convizit_model::Person;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a keyed hash: enough that no two persons share one.
pub(crate) const HASH: usize = 16;
/// The keyed hash of a project's visitor or user.
pub(crate) type PersonHash = [u8; HASH];

/// First byte of a list, and of a Bloom filter.
const LIST: u8 = 0;
const BLOOM: u8 = 1;
const BITS: usize = 11;
const PROBES: u64 = 8;
/// Bytes of the checksum at the end of what stands beside a frame.
const SUM: usize = 8;

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

/// Whether a filter is a Bloom filter.
pub(crate) fn is_packed(filter: &[u8]) -> bool {
    filter.first() == Some(&BLOOM)
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

/// Which frame a filter is of: its project, and the numbers of its first and last events.
pub(crate) type OfFrame = (i64, i64, i64);

fn sum((project, first, last): OfFrame, filter: &[u8]) -> [u8; SUM] {
    let of = [project, first, last].map(i64::to_be_bytes);
    xxh3_64(&[of.as_flattened(), filter].concat()).to_be_bytes()
}

/// A filter as it stands beside its frame: with a checksum, since a bit that was lost would hide somebody whose events are there.
pub(crate) fn beside(frame: OfFrame, mut filter: Vec<u8>) -> Vec<u8> {
    let sum = sum(frame, &filter);
    filter.extend_from_slice(&sum);
    filter
}

/// The filter of what stands beside a frame; `None` where damage took any of it, or it is another frame's: then it says nothing.
pub(crate) fn whole(frame: OfFrame, beside: &[u8]) -> Option<&[u8]> {
    let (filter, found) = beside.split_last_chunk()?;
    (*found == sum(frame, filter)).then_some(filter)
}

/// Whether a frame may hold events of any of these persons, by what stands beside it: of everybody, where that is damaged.
pub(crate) fn may_hold_any<'a>(
    frame: OfFrame,
    beside: &[u8],
    mut hashes: impl Iterator<Item = &'a PersonHash>,
) -> bool {
    let filter = whole(frame, beside);
    hashes.any(|hash| filter.is_none_or(|filter| may_hold(filter, hash)))
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
                assert_eq!(beside((1, 1, 2), packed.clone()).len(), packed.len() + 8, "and a checksum");
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
    fn any_changed_bit_and_any_cut_says_that_everybody_may_be_there() {
        const OF: OfFrame = (3, 101, 200);
        let (there, others) = (hashes(20, 0), hashes(5, 1_000));
        let list = list(there.iter());
        for whole in [beside(OF, list.clone()), beside(OF, pack(list.clone())), beside(OF, super::list([].iter()))] {
            let everybody = |of, filter: &[u8]| {
                there.iter().chain(&others).all(|hash| may_hold_any(of, filter, [hash].into_iter()))
            };
            assert!(!everybody(OF, &whole), "a whole one tells them apart");
            for bit in 0..whole.len() * 8 {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(everybody(OF, &changed), "bit {bit} of {}", whole.len() * 8);
            }
            for cut in 0..whole.len() {
                assert!(everybody(OF, &whole[..cut]), "cut at {cut}");
            }
            for other in [(4, 101, 200), (3, 102, 200), (3, 101, 201)] {
                assert!(everybody(other, &whole), "of another frame: {other:?}");
            }
            assert!(!may_hold_any(OF, &whole[1..], [].into_iter()), "of nobody it holds none");
        }
        let mistaken = others.iter().filter(|other| may_hold_any(OF, &beside(OF, list.clone()), [*other].into_iter()));
        assert_eq!(mistaken.count(), 0);
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
