//! Making tap devices, which the kernel does not do over netlink.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

/// Where tap devices are asked for.
const DEVICE: &str = "/dev/net/tun";
/// `IFF_TUN_EXCL`: a device of that name must not be there yet.
const EXCLUSIVE: i32 = 0x8000;
/// `IFLA_TUN_OWNER`.
pub const TUN_OWNER: u16 = 1;
/// `IFLA_TUN_GROUP`.
pub const TUN_GROUP: u16 = 2;
/// `IFLA_TUN_TYPE`: [`TAP`] or another.
pub const TUN_TYPE: u16 = 3;
/// `IFLA_TUN_MULTI_QUEUE`.
pub const TUN_MULTI_QUEUE: u16 = 7;
/// `IFF_TAP`: the device carries Ethernet frames.
pub const TAP: u32 = libc::IFF_TAP as u32;

/// A tap device that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap<'a> {
    /// The name.
    pub name: &'a str,
    /// Whether several programs, or several queues of one, may be at it.
    pub multi_queue: bool,
    /// The user that may use it.
    pub owner: Option<u32>,
    /// The group that may use it.
    pub group: Option<u32>,
}

impl Tap<'_> {
    /// What is asked for: the device without the packet information that some programs read in front of each frame. The
    /// program that opens the device chooses anew, except for the queues.
    fn flags(&self) -> i32 {
        let queues = if self.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        libc::IFF_TAP | libc::IFF_NO_PI | queues
    }
}

/// Makes a tap device in the calling thread's namespace, which stays until it is deleted. A process that is killed on the way
/// leaves none.
///
/// # Errors
/// When there is no `/dev/net/tun`, or the kernel refuses: `EBUSY` if the name is taken.
pub fn make(tap: &Tap<'_>) -> io::Result<()> {
    let device = File::options().read(true).write(true).open(DEVICE)?;
    let flags = tap.flags() | EXCLUSIVE;
    // SAFETY: all zeros are an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = tap.name.as_bytes();
    // The last byte stays zero and ends the name.
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request is a struct ifreq, which outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    for (number, value) in
        [(libc::TUNSETOWNER, tap.owner), (libc::TUNSETGROUP, tap.group), (libc::TUNSETPERSIST, Some(1))]
    {
        if let Some(value) = value {
            // SAFETY: these requests take a number, no pointer.
            check(unsafe { libc::ioctl(device.as_raw_fd(), number as _, libc::c_ulong::from(value)) })?;
        }
    }
    Ok(())
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_kernel() {
        let tap = Tap { name: "t", multi_queue: false, owner: None, group: None };
        assert_eq!(tap.flags(), 0x1002);
        assert_eq!(Tap { multi_queue: true, ..tap }.flags(), 0x1102);
    }

    #[test]
    fn long_names_are_refused() {
        let tap = Tap { name: "0123456789abcdef", multi_queue: false, owner: None, group: None };
        // An ordinary user may not even open the device.
        assert!(make(&tap).is_err());
    }
}
