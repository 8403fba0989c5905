//! Work inside the container's namespace that no other execution of these plugins does meanwhile.

use crate::netlink::Socket;
use crate::netns::Netns;
use crate::refusal::Refusal;
use crate::skel::io_failure;

/// Does the work with a socket of the namespace, which is locked for that time.
pub(crate) fn alone<T: Send>(
    netns: &Netns,
    work: impl FnOnce(&mut Socket) -> Result<T, Refusal> + Send,
) -> Result<T, Refusal> {
    let _guard = netns
        .lock(true)
        .map_err(|error| io_failure("cannot lock the container's network namespace", &error))?;
    let mut socket = netns.run(Socket::route)??;
    work(&mut socket)
}
