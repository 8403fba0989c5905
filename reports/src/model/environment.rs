//! An environment as a JSON object that keeps its order.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::Serializer;

type Variables = Vec<(String, String)>;

pub(super) fn serialize<S: Serializer>(variables: &Variables, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(variables.iter().map(|(name, value)| (name, value)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = Variables;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object that maps names of variables to values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
            let mut variables = Vec::new();
            while let Some(variable) = map.next_entry()? {
                variables.push(variable);
            }
            Ok(variables)
        }
    }

    deserializer.deserialize_map(Object)
}
