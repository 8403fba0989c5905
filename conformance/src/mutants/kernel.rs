//! What mutants do to the kernel and to files beside what their plugin does.

use std::path::{Path, PathBuf};

use cni_plugins::netlink::link::{Change, Link, change};
use cni_plugins::netlink::{Socket, address};
use cni_plugins::netns::Netns;

use super::{Defect, Execution};

/// Where mutants keep what the files of a plugin do not tell them.
pub(super) const STATE: &str = "/run/cnitest-mutant";

/// A socket in the container's namespace.
pub(super) fn container(execution: &Execution) -> Result<Socket, Defect> {
    Ok(Netns::open(execution.variable("CNI_NETNS"))?.run(Socket::route)??)
}

/// A socket in the host's namespace.
pub(super) fn host() -> Result<Socket, Defect> {
    Ok(Socket::route()?)
}

/// The attachment's interface in the container, if it is there.
pub(super) fn interface(execution: &Execution) -> Result<Option<(Socket, Link)>, Defect> {
    let mut socket = match container(execution) {
        Ok(socket) => socket,
        // No namespace, no interface.
        Err(_) => return Ok(None),
    };
    Ok(socket.link(&execution.variable("CNI_IFNAME"))?.map(|link| (socket, link)))
}

/// Removes the first address of the attachment's interface, for which `chosen` holds.
pub(super) fn remove_address(execution: &Execution, ipv4: bool) -> Result<(), Defect> {
    let Some((mut socket, link)) = interface(execution)? else { return Ok(()) };
    let all = socket.addresses(link.index)?;
    let found = all
        .iter()
        .find(|found| found.address.addr().is_ipv4() == ipv4 && found.scope == libc::RT_SCOPE_UNIVERSE);
    if let Some(found) = found {
        socket.apply(vec![address::remove(found.address, link.index)])?;
    }
    Ok(())
}

/// Sets the attachment's interface down.
pub(super) fn set_down(execution: &Execution) -> Result<(), Defect> {
    let Some((mut socket, link)) = interface(execution)? else { return Ok(()) };
    socket.apply(vec![change(&link.name, link.index, Change { up: Some(false), ..Change::default() })])?;
    Ok(())
}

/// Gives the attachment's interface one more address.
pub(super) fn add_address(execution: &Execution, text: &str) -> Result<(), Defect> {
    let Some((mut socket, link)) = interface(execution)? else { return Ok(()) };
    socket.apply(vec![address::add(text.parse()?, link.index, true).or(&[libc::EEXIST])])?;
    Ok(())
}

/// The file that is named after the attachment.
pub(super) fn state_file(execution: &Execution) -> PathBuf {
    let name = format!("{}-{}", execution.variable("CNI_CONTAINERID"), execution.variable("CNI_IFNAME"));
    Path::new(STATE).join(name)
}

/// Writes a file, making its folder.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Defect> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(path, text)?)
}
