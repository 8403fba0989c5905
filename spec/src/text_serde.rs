//! Names travel through serde as their text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::catalogue::{Party, Topic};
use crate::{Level, Operation, Version};

macro_rules! as_text {
    ($($name:ty),+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+ };
}

as_text!(Version, Operation, Level, Party, Topic);
