//! What the fuzz targets call: the readers of what comes from the kernel, from the agent and from plugins.

pub use crate::arena::fuzzing::{
    control, counters, iptables, messages, namespace, payloads, record, rule, rules,
};
