//! How often somebody may try a password or a code: for each account, for each address, and for all together.
//!
//! Buckets of tries that fill again over time. Those of accounts stand in the database, so that they hold over all processes; the
//! others in memory of a fixed size, each process for itself. A right answer gives its try back, so that people who sign in often
//! are not held up by it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use convizit_model::Timestamp;
use convizit_store::{AccountTry, Store};

use crate::page::Refusal;

/// A bucket: how many tries it holds, and in how many seconds one comes back.
#[derive(Debug, Clone, Copy)]
struct Size {
    holds: f64,
    seconds: f64,
}

/// Offices share an address.
const ADDRESS: Size = Size { holds: 50.0, seconds: 10.0 };
/// More than this nobody's people mistype, and each try costs a hash.
const TOTAL: Size = Size { holds: 200.0, seconds: 0.2 };
/// Buckets in memory, some 40 bytes each. In the 500 seconds after which an address's bucket is full again and may be forgotten,
/// `TOTAL` lets in 2 700 tries: none is forgotten too early.
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
enum Key {
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

/// A try that was let in: of an address and in total, and of an account where it is one's.
#[derive(Debug)]
pub(crate) struct Try {
    here: [u64; 2],
    account: Option<AccountTry>,
}

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
    /// Lets a try of an account in, or says how long to wait. Taken before the answer is known, so that many at once gain nothing.
    ///
    /// # Errors
    /// `TooMany`; `Failed` where the database cannot say.
    pub(crate) async fn take(&self, store: &Store, account: &str, address: IpAddr) -> Result<Try, Refusal> {
        let now = store.clock().now();
        // First what costs nothing, so that a flood of tries is no flood of writes.
        let one = self.take_here(address, now).map_err(|Wait(seconds)| Refusal::TooMany(seconds))?;
        let refused = match store.take_account_try(account).await {
            Ok(Ok(account)) => return Ok(Try { account: Some(account), ..one }),
            Ok(Err(seconds)) => Refusal::TooMany(seconds),
            Err(error) => error.into(),
        };
        self.refill(one.here, 1.0, now);
        Err(refused)
    }

    /// The same of what is no account's.
    pub(crate) fn take_here(&self, address: IpAddr, now: Timestamp) -> Result<Try, Wait> {
        let keys = [
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
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most ten seconds")]
                return Err(Wait(((1.0 - left) * size.seconds).ceil() as u64));
            }
        }
        for (left, (key, size)) in left.into_iter().zip(keys) {
            buckets.insert(key, Bucket { left: left - 1.0, at: now, size });
        }
        Ok(Try { here: keys.map(|(key, _)| key), account: None })
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
    pub(crate) async fn give_back(&self, store: &Store, one: Try) {
        self.give(store, one, 1).await;
    }

    /// The answer has made a sign-in whole: neither its try counts nor that of the password before it. Until then that one does:
    /// whoever has the password alone has few tries, too.
    pub(crate) async fn give_back_sign_in(&self, store: &Store, one: Try) {
        self.give(store, one, 2).await;
    }

    async fn give(&self, store: &Store, one: Try, tries: u8) {
        self.refill(one.here, f64::from(tries), store.clock().now());
        let Some(account) = one.account else { return };
        // It costs whoever was right a try, and nothing else.
        if let Err(error) = store.give_account_tries_back(account, tries).await {
            tracing::warn!(%error, "tries of an account could not be given back");
        }
    }

    fn refill(&self, keys: [u64; 2], tries: f64, now: Timestamp) {
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
    fn an_address_is_held_up_whichever_accounts_it_tries() {
        let throttle = Throttle::default();
        let let_in = (0..200).filter(|_| throttle.take_here(address(1), at(0)).is_ok()).count();
        assert_eq!(let_in, 50);
        assert!(throttle.take_here(address(2), at(0)).is_ok(), "others are not");
        assert_eq!(throttle.take_here(address(1), at(0)).unwrap_err(), Wait(10));
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
        let let_in = (0..200).filter(|n| throttle.take_here(v6(*n), at(0)).is_ok()).count();
        assert_eq!(let_in, 50, "a customer has a whole network of them");
    }

    #[test]
    fn right_answers_cost_nothing() {
        let throttle = Throttle::default();
        for _ in 0..1000 {
            let one = throttle.take_here(address(1), at(0)).unwrap();
            throttle.refill(one.here, 1.0, at(0));
        }
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_forgotten_early() {
        let throttle = Throttle::default();
        for _ in 0..50 {
            throttle.take_here(address(1), at(0)).unwrap();
        }
        for second in 0..490 {
            for n in 0..20_u16 {
                let from = IpAddr::from([
                    10,
                    u8::try_from(second % 256).unwrap(),
                    u8::try_from(second / 256).unwrap(),
                    n as u8,
                ]);
                throttle.take_here(from, at(second)).ok();
            }
            assert!(throttle.buckets.lock().unwrap().len() <= BUCKETS);
        }
        let mut let_in = 0;
        while throttle.take_here(address(1), at(490)).is_ok() {
            let_in += 1;
        }
        assert!(let_in <= 49, "{let_in}");
    }
}
