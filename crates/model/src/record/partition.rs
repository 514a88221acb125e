//! Which kafka_partition a key belongs to: Kafka's own default partitioner (murmur2), so that other
//! producers agree.
//!
//! Promises: the same key, the same kafka_partition, as long as their number stays. Source: Kafka,
//! `Utils.murmur2` and `BuiltInPartitioner.partitionForKey` of the Java client.

use crate::KafkaPartition;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The kafka_partition of a key in a topic of `partitions` (at least one).
pub fn partition_of(key: &[u8], partitions: u32) -> KafkaPartition {
    assert!(partitions > 0, "a topic has at least one kafka_partition");
    // Java's client clears the sign instead of taking the absolute value; both sides must agree.
    let positive = murmur2(key) & 0x7fff_ffff;
    KafkaPartition(i32::try_from(positive % partitions).expect("31 bits fit"))
}

/// Kafka's 32-bit murmur2; Java shows the same bits as a signed number.
pub fn murmur2(bytes: &[u8]) -> u32 {
    // Java's length is an int: the hash sees its low 32 bits.
    let mut hash = SEED ^ (bytes.len() & 0xffff_ffff) as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_kafkas_own_tests() {
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_gives_a_kafka_partition_too() {
        assert_eq!(
            partition_of(b"21", 6),
            KafkaPartition((-973_932_308_i32 & 0x7fff_ffff) % 6)
        );
        assert_eq!(partition_of(b"", 1), KafkaPartition(0));
    }
}
