//! The sink that a producer has: Kafka. The contract is `inlet_service::sink`.

pub mod kafka;
