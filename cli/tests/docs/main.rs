//! What the documentation says is so; here: the schema of the configuration.

#![allow(clippy::unwrap_used, missing_docs)]

mod schema;
