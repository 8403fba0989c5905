//! The bridge itself, which several ADDs may make, and those that fail remove, at the same time.

use std::fs::File;

use super::Settings;
use crate::fields::invalid;
use crate::netlink::Socket;
use crate::netlink::bridge::new_bridge;
use crate::netlink::link::{Change, Link, Mac, change};
use crate::netns::Netns;
use crate::refusal::{KERNEL, Refusal};
use crate::skel::{Request, io_failure};
use crate::veth;

/// How often an ADD looks again for a link that others make or remove at the same time.
pub(super) const ATTEMPTS: usize = 16;

/// Locks what belongs to the network: shared by ADDs that use it, exclusively for one that removes it.
pub(super) fn lock(exclusive: bool) -> Result<File, Refusal> {
    let locked = Netns::current()?.lock(exclusive);
    locked.map_err(|error| io_failure("cannot lock the host's network namespace", &error))
}

/// The bridge, set up. `made` is set, also if this fails later, if it was not there.
pub(super) fn ensure(
    host: &mut Socket,
    settings: &Settings<'_>,
    made: &mut Option<Link>,
) -> Result<Link, Refusal> {
    let name = settings.bridge;
    let mut is_new = false;
    let mut filters = settings.tagging.wants_filtering();
    for _ in 0..ATTEMPTS {
        match host.link(name)? {
            Some(link) if link.kind != "bridge" => {
                let problem = format!("{name} exists on the host and is no bridge: name another");
                return Err(invalid("bridge", problem));
            }
            Some(link) => {
                if is_new {
                    *made = Some(link.clone());
                    veth::ignore_advertisements(name)?;
                }
                let wanted = Change {
                    up: (!link.up).then_some(true),
                    promiscuous: (settings.promiscuous && !link.promiscuous).then_some(true),
                    ..Change::default()
                };
                if wanted.up.is_some() || wanted.promiscuous.is_some() {
                    host.apply(vec![change(name, link.index, wanted)])?;
                }
                return Ok(link);
            }
            None => {
                let new = new_bridge(name, random_mac()?, settings.mtu, filters);
                let tolerated: &[i32] =
                    if filters { &[libc::EEXIST, libc::EOPNOTSUPP] } else { &[libc::EEXIST] };
                let outcome = host.apply(vec![new.or(tolerated)])?;
                is_new = outcome == [None];
                if outcome == [Some(libc::EOPNOTSUPP)] {
                    settings.tagging.check_kernel(false)?;
                    filters = false;
                }
            }
        }
    }
    Err(Refusal::new(KERNEL, format!("bridge {name} keeps vanishing: something else removes it")))
}

/// A random hardware address of the locally administered range.
fn random_mac() -> Result<Mac, Refusal> {
    let mut octets = [0; 6];
    let source = "/dev/urandom";
    let read = File::open(source).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut octets));
    read.map_err(|error| io_failure(format!("cannot read {source}"), &error))?;
    octets[0] = octets[0] & 0xfc | 0x02;
    Ok(Mac(octets))
}

/// Removes the bridge that an ADD made and that nobody uses.
pub(super) fn remove_unused(host: &mut Socket, bridge: &Link, request: &Request) {
    let mut remove = || -> Result<(), Refusal> {
        let _lock = lock(true)?;
        let same = host.link(&bridge.name)?.is_some_and(|link| link.index == bridge.index);
        if same && host.links(Some(bridge.index))?.is_empty() {
            host.delete_link(&bridge.name)?;
        }
        Ok(())
    };
    if let Err(error) = remove() {
        request.log(format_args!("undoing the ADD: {error}"));
    }
}
