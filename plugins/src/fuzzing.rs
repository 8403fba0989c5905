//! What the fuzz targets call: configurations are read as the plugins read them, and nothing is done.

use cni_spec::{Operation, Version};
use serde_json::Value;

use crate::refusal::Refusal;
use crate::skel::{self, Environment, Request};

/// Reads an execution as the plugin of that name does, up to where it would turn to the kernel; `None` for an unknown name.
/// A refusal is the error object that the plugin prints.
pub fn understand(
    name: &str,
    environment: Environment,
    stdin: &[u8],
) -> Option<Result<(Operation, Version), Value>> {
    crate::plugin(name).map(|plugin| skel::understand(plugin, environment, stdin.to_vec()))
}

/// Reads what lies on the disk or comes from the kernel, and may have been written by anybody.
pub fn stored(bytes: &[u8]) {
    crate::host_local::read_stored(bytes);
    crate::tuning::read_stored(bytes);
    crate::host_device::read_stored(bytes);
    crate::portmap::read_stored(bytes);
    crate::netlink::message::read_any(bytes);
    crate::netlink::link::read_any(bytes);
    crate::netlink::address::read_any(bytes);
    crate::netlink::bridge::read_any(bytes);
    crate::netlink::htb::read_any(bytes);
    crate::netlink::qdisc::read_any(bytes);
    crate::netlink::route::read_any(bytes);
    crate::netlink::rule::read_any(bytes);
    crate::netlink::saved::read_any(bytes);
    crate::netlink::vrf::read_any(bytes);
    crate::nft::object::read_any(bytes);
}

/// What every plugin may read of a request.
pub(crate) fn common(request: &Request) -> Result<(), Refusal> {
    match request.operation {
        Operation::Gc => request.valid_attachments().map(|_| ()),
        Operation::Check => request.required_prev_result().map(|result| {
            let _ = request.own_interface(result);
        }),
        Operation::Add => {
            if let Some(result) = &request.prev_result {
                let _ = request.own_interface(result);
                let _ = result.to_version(request.version);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
