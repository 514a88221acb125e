//! The hash that stands for a value of a column that is not to leave the database.
//!
//! HMAC-SHA-256 of the value's text with the secret of the configuration, as 64 hexadecimal digits.
//! A hash without a secret protects no value that can be guessed: whoever has the hashes of e-mail
//! addresses only needs a list of addresses. It is made here, after the value was read, because SQL
//! has no HMAC without an extension, and a statement with the secret in it would be in the server's
//! logs. Source: RFC 2104, FIPS 198-1.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Bytes of a hash as text.
pub(crate) const TEXT_BYTES: usize = 64;
/// What is hashed to recognize the secret; the text is stored nowhere.
const FINGERPRINT: &[u8] = b"inlet: fingerprint of a hash key";

/// Makes the hashes of one secret.
#[derive(Clone)]
pub struct ValueHasher(Hmac<Sha256>);

impl ValueHasher {
    /// A hasher with this secret.
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The hash of a value's text, in `text`.
    pub(crate) fn hash<'a>(&self, value: &[u8], text: &'a mut [u8; TEXT_BYTES]) -> &'a str {
        let mut mac = self.0.clone();
        mac.update(value);
        hex::encode_to_slice(mac.finalize().into_bytes(), text).expect("32 bytes are 64 digits");
        std::str::from_utf8(text).expect("hexadecimal digits are ASCII")
    }

    /// A text that differs for another secret, and tells nothing about it.
    pub(crate) fn fingerprint(&self) -> String {
        self.hash(FINGERPRINT, &mut [0; TEXT_BYTES])[..16].to_owned()
    }
}

impl fmt::Debug for ValueHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueHasher(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_hmac_of_rfc_4231() {
        let hasher = ValueHasher::new(&SecretString::from("Jefe"));
        let mut text = [0; TEXT_BYTES];
        assert_eq!(
            hasher.hash(b"what do ya want for nothing?", &mut text),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(!format!("{hasher:?}").contains("Jefe"));
    }
}
