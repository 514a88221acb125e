//! Which kafka_partition a key belongs to: Kafka's own default partitioner (murmur2), so that other producers agree.
