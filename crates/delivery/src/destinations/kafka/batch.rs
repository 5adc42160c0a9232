//! Kafka's record batches (format 2 of kafka.apache.org, "Record Batch"), and the partition that a key belongs to.

use std::io::Write as _;

use crate::connectors::encode::Record;

/// Who writes: by it and by the sequence a broker knows a batch that it got before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl Producer {
    /// Nobody in particular: the broker knows no repeats.
    pub(crate) const NONE: Self = Self { id: -1, epoch: -1 };
}

/// A batch of these records; `sequence` is that of the first.
pub(crate) fn batch(records: &[&Record], gzip: bool, producer: Producer, sequence: i32) -> std::io::Result<Vec<u8>> {
    let first = records.first().map_or(0, |record| record.time);
    let newest = records.iter().map(|record| record.time).max().unwrap_or(first);
    let mut body = Vec::new();
    for (offset, record) in records.iter().enumerate() {
        let mut one = vec![0];
        varint(record.time - first, &mut one);
        varint(wide(offset), &mut one);
        text(record.key.as_bytes(), &mut one);
        text(&record.body, &mut one);
        let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        varint(wide(record.headers.len() + 1), &mut one);
        for (name, value) in headers.chain([("id", record.id.as_str())]) {
            text(name.as_bytes(), &mut one);
            text(value.as_bytes(), &mut one);
        }
        varint(wide(one.len()), &mut body);
        body.extend_from_slice(&one);
    }
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body)?;
        body = encoder.finish()?;
    }
    let many = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let sequence = if producer == Producer::NONE { -1 } else { sequence };
    // What the sum is of.
    let mut summed = Vec::with_capacity(body.len() + 64);
    summed.extend_from_slice(&i16::from(gzip).to_be_bytes());
    summed.extend_from_slice(&(many - 1).to_be_bytes());
    summed.extend_from_slice(&first.to_be_bytes());
    summed.extend_from_slice(&newest.to_be_bytes());
    summed.extend_from_slice(&producer.id.to_be_bytes());
    summed.extend_from_slice(&producer.epoch.to_be_bytes());
    summed.extend_from_slice(&sequence.to_be_bytes());
    summed.extend_from_slice(&many.to_be_bytes());
    summed.extend_from_slice(&body);
    let mut out = Vec::with_capacity(summed.len() + 21);
    out.extend_from_slice(&0_i64.to_be_bytes());
    // Behind the length: the leader's epoch, the format, the sum.
    out.extend_from_slice(&i32::try_from(summed.len() + 9).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.push(2);
    out.extend_from_slice(&crc32c(&summed).to_be_bytes());
    out.extend_from_slice(&summed);
    Ok(out)
}

/// The bytes of a record within a batch, nearly.
pub(crate) fn size_of(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    record.key.len() + record.body.len() + record.id.len() + headers + 40
}

/// The partition of a key as the Java client has it, so that other writers' records of the key lie there, too.
pub(crate) fn partition(key: &[u8], partitions: usize) -> usize {
    let hash = usize::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    hash % partitions.max(1)
}

/// MurmurHash2 with the seed of the Java client (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// CRC-32C (RFC 3720, appendix B.4), a byte at a time.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    let step = |sum: u32, byte: &u8| {
        let [low, ..] = sum.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
    };
    !data.iter().fold(!0, step)
}

fn wide(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Seven bits a byte, the sign in the lowest (Protocol Buffers, "Signed Integers").
fn varint(value: i64, out: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = left.to_le_bytes();
        left >>= 7;
        if left == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    varint(wide(bytes.len()), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_where_the_java_client_puts_them() {
        // UtilsTest.testMurmur2 of Apache Kafka.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert!(partition(b"x", 3) < 3 && partition(b"x", 0) == 0);
    }

    #[test]
    fn sums_and_numbers_are_as_published() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-64, vec![127]), (64, vec![128, 1]), (300, vec![0xd8, 4])]
        {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!(out, bytes, "{value}");
        }
    }
}
