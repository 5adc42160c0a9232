//! How often somebody may try a password or a code: for each account, for each address, and for all together.
//!
//! Buckets of tries that fill again over time, in memory of a fixed size. A right answer gives its try back, so that people who
//! sign in often are not held up by it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use convizit_model::Timestamp;

/// A bucket: how many tries it holds, and in how many seconds one comes back.
#[derive(Debug, Clone, Copy)]
struct Size {
    holds: f64,
    seconds: f64,
}

/// At most 10 + 60 tries in any hour: NIST SP 800-63B-4 allows 100.
const ACCOUNT: Size = Size { holds: 10.0, seconds: 60.0 };
/// Offices share an address.
const ADDRESS: Size = Size { holds: 50.0, seconds: 10.0 };
/// More than this nobody's people mistype, and each try costs a hash.
const TOTAL: Size = Size { holds: 200.0, seconds: 0.2 };
/// Buckets in memory, some 40 bytes each. In the ten minutes after which an account's bucket is full again and may be forgotten,
/// `TOTAL` lets in 3 200 tries: none is forgotten too early.
const BUCKETS: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Timestamp,
    size: Size,
}

impl Bucket {
    fn now(self, now: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some minutes")]
        let seconds = now.since(self.at).max(0) as f64 / 1000.0;
        (self.left + seconds / self.size.seconds).min(self.size.holds)
    }
}

/// Who tries.
#[derive(Hash)]
enum Key<'a> {
    Account(&'a str),
    Address(IpAddr),
    /// Apart from people's tries: a program with an old token must not keep its neighbours from signing in.
    Token(IpAddr),
    Total,
}

/// All buckets.
#[derive(Default)]
pub(crate) struct Throttle {
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

/// A try that was let in.
#[derive(Debug)]
pub(crate) struct Try([u64; 3]);

/// Too many tries: seconds until the next one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) u64);

/// The part of an address that one customer of a provider has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Throttle {
    /// Lets a try in, or says how long to wait. Taken before the answer is known, so that many at once gain nothing.
    pub(crate) fn take(&self, account: &str, address: IpAddr, now: Timestamp) -> Result<Try, Wait> {
        let account = account.trim().to_lowercase();
        let keys = [
            (self.hasher.hash_one(Key::Account(&account)), ACCOUNT),
            (self.hasher.hash_one(Key::Address(network(address))), ADDRESS),
            (self.hasher.hash_one(Key::Total), TOTAL),
        ];
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() + keys.len() > BUCKETS {
            buckets.retain(|_, bucket| bucket.now(now) < bucket.size.holds);
        }
        let left = keys.map(|(key, size)| buckets.get(&key).map_or(size.holds, |bucket| bucket.now(now)));
        for (left, (_, size)) in left.into_iter().zip(keys) {
            if left < 1.0 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a minute")]
                return Err(Wait(((1.0 - left) * size.seconds).ceil() as u64));
            }
        }
        for (left, (key, size)) in left.into_iter().zip(keys) {
            buckets.insert(key, Bucket { left: left - 1.0, at: now, size });
        }
        Ok(Try(keys.map(|(key, _)| key)))
    }

    /// Whether an address may show a token now.
    pub(crate) fn may_show_token(&self, address: IpAddr, now: Timestamp) -> Result<(), Wait> {
        let key = self.hasher.hash_one(Key::Token(network(address)));
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(&key).map(|bucket| bucket.now(now)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten seconds")]
            Some(left) if left < 1.0 => Err(Wait(((1.0 - left) * ADDRESS.seconds).ceil() as u64)),
            _ => Ok(()),
        }
    }

    /// Counts a token that nobody has. Only afterwards, so that many good calls at once are never held up: with 240 random bits
    /// it is the work that is bounded, not the guessing.
    pub(crate) fn wrong_token(&self, address: IpAddr, now: Timestamp) {
        let key = self.hasher.hash_one(Key::Token(network(address)));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS {
            buckets.retain(|_, bucket| bucket.now(now) < bucket.size.holds);
        }
        let left = buckets.get(&key).map_or(ADDRESS.holds, |bucket| bucket.now(now));
        if buckets.len() < BUCKETS || buckets.contains_key(&key) {
            buckets.insert(key, Bucket { left: (left - 1.0).max(0.0), at: now, size: ADDRESS });
        }
    }

    /// The answer was right: its try does not count.
    pub(crate) fn give_back(&self, one: Try, now: Timestamp) {
        self.refill(one, 1.0, now);
    }

    /// The answer has made a sign-in whole: neither its try counts nor that of the password before it. Until then that one does:
    /// whoever has the password alone has few tries, too.
    pub(crate) fn give_back_sign_in(&self, one: Try, now: Timestamp) {
        self.refill(one, 2.0, now);
    }

    fn refill(&self, Try(keys): Try, tries: f64, now: Timestamp) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(bucket) = buckets.get_mut(&key) {
                *bucket = Bucket { left: (bucket.now(now) + tries).min(bucket.size.holds), at: now, ..*bucket };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + seconds * 1000)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_account_gets_at_most_a_hundred_tries_in_any_hour_from_wherever_they_come() {
        let throttle = Throttle::default();
        let mut let_in: Vec<i64> = Vec::new();
        for second in 0..3 * 3600 {
            for try_ in 0..4 {
                let from = address(u8::try_from((second + try_) % 250).unwrap());
                // Capitals are no other account.
                let name = if try_ % 2 == 0 { "ada@shop.example" } else { "Ada@Shop.example " };
                if throttle.take(name, from, at(second)).is_ok() {
                    let_in.push(second);
                }
            }
        }
        let most =
            let_in.iter().map(|from| let_in.iter().filter(|one| (*from..from + 3600).contains(one)).count()).max();
        assert!(most.is_some_and(|most| (60..=100).contains(&most)), "{most:?}");
    }

    #[test]
    fn an_address_is_held_up_whichever_accounts_it_tries() {
        let throttle = Throttle::default();
        let let_in =
            (0..200).filter(|n| throttle.take(&format!("{n}@shop.example"), address(1), at(0)).is_ok()).count();
        assert_eq!(let_in, 50);
        assert!(throttle.take("new@shop.example", address(2), at(0)).is_ok(), "others are not");
        assert_eq!(throttle.take("new@shop.example", address(1), at(0)).unwrap_err(), Wait(10));
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let let_in = (0..200).filter(|n| throttle.take(&n.to_string(), v6(*n), at(0)).is_ok()).count();
        assert_eq!(let_in, 50, "a customer has a whole network of them");
    }

    #[test]
    fn right_answers_cost_nothing() {
        let throttle = Throttle::default();
        for _ in 0..1000 {
            let one = throttle.take("ada@shop.example", address(1), at(0)).unwrap();
            throttle.give_back(one, at(0));
        }
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_forgotten_early() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            throttle.take("ada@shop.example", address(1), at(0)).unwrap();
        }
        for second in 0..590 {
            for n in 0..20_u16 {
                let from = IpAddr::from([
                    10,
                    u8::try_from(second % 256).unwrap(),
                    u8::try_from(second / 256).unwrap(),
                    n as u8,
                ]);
                throttle.take(&format!("{second}-{n}"), from, at(second)).ok();
            }
            assert!(throttle.buckets.lock().unwrap().len() <= BUCKETS);
        }
        let mut let_in = 0;
        while throttle.take("ada@shop.example", address(1), at(590)).is_ok() {
            let_in += 1;
        }
        assert!(let_in <= 9, "{let_in}");
    }
}
