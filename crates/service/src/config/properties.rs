//! `kafka.properties`: the user's properties of librdkafka.

use std::collections::BTreeMap;
use std::fmt;

use super::refused::{REFUSED_PROPERTIES, RefusedProperty};

/// Properties that a user may set. A property that a promise depends on has no place here, so no
/// client can be made with one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// The name of a property that a user may set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PropertyName(String);

impl PropertyName {
    /// Accepts a name, or returns why it is refused.
    pub fn parse(name: &str) -> Result<Self, &'static RefusedProperty> {
        match REFUSED_PROPERTIES
            .iter()
            .find(|refused| refused.name == name)
        {
            Some(refused) => Err(refused),
            None => Ok(Self(name.to_owned())),
        }
    }
}

impl Properties {
    /// Accepts names and values, unless one of the names is refused.
    pub fn new<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, &'static RefusedProperty> {
        let mut properties = Self::default();
        for (name, value) in given {
            properties.set(PropertyName::parse(name)?, value);
        }
        Ok(properties)
    }

    /// Sets a property.
    pub fn set(&mut self, name: PropertyName, value: impl Into<String>) {
        self.0.insert(name.0, value.into());
    }

    /// Returns the value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    // The value of a property may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.keys().map(|name| (name, "***")))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_property_is_refused_with_its_reason() {
        for refused in REFUSED_PROPERTIES {
            let error = Properties::new([("client.id", "inlet"), (refused.name, "1")]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(refused.name) && text.contains(refused.reason));
        }
    }

    #[test]
    fn a_value_is_returned_and_never_shown() {
        let properties = Properties::new([("sasl.password", "hunter2")]).unwrap();
        assert_eq!(properties.get("sasl.password"), Some("hunter2"));
        let shown = format!("{properties:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"));
    }
}
