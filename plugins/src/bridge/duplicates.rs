//! `enabledad`: the kernel looks whether somebody else on the network has an IPv6 address, and ADD waits for what it finds.

use std::time::{Duration, Instant};

use crate::netlink::Socket;
use crate::netlink::link::Link;
use crate::refusal::{EXISTS, KERNEL, Refusal};
use crate::skel::Request;
use crate::veth::{has_sysctl, sysctl};

/// How long the kernel may take. It needs up to two seconds unless a setting has it look several times.
const SEARCH: Duration = Duration::from_secs(10);
/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Has the kernel look for duplicates of the addresses that an interface is going to have.
pub(super) fn search(request: &Request, ifname: &str) -> Result<(), Refusal> {
    request.netns()?.run(|| {
        // Nonces tell an echo of the search, as hairpin ports send it, from a duplicate. An old kernel has none.
        let _ = sysctl(&format!("ipv6/conf/{ifname}/enhanced_dad"), "1");
        match has_sysctl(&format!("ipv6/conf/{ifname}/accept_dad"), "0") {
            true => sysctl(&format!("ipv6/conf/{ifname}/accept_dad"), "1"),
            false => Ok(()),
        }
    })?
}

/// Waits until no address of an interface is tentative any more.
pub(super) fn settle(container: &mut Socket, link: &Link) -> Result<(), Refusal> {
    let deadline = Instant::now() + SEARCH;
    loop {
        let addresses = container.addresses(link.index)?;
        if let Some(found) = addresses.iter().find(|found| found.duplicate) {
            let address = found.address.addr();
            let problem = format!(
                "enabledad: another node of the network has {address} already: free it there or have ipam choose \
                 another"
            );
            return Err(Refusal::new(EXISTS, problem));
        }
        let Some(open) = addresses.iter().find(|found| found.tentative) else { return Ok(()) };
        if Instant::now() > deadline {
            let (address, seconds) = (open.address.addr(), SEARCH.as_secs());
            let problem = format!(
                "enabledad: after {seconds} s the kernel still looks for duplicates of {address}: lower \
                 dad_transmits or remove enabledad"
            );
            return Err(Refusal::new(KERNEL, problem));
        }
        std::thread::sleep(INTERVAL);
    }
}
