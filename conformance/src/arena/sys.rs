//! Small safe wrappers of system calls that no crate in use offers.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use netlink_sys::Socket;

/// Sets close-on-exec on every descriptor from 3 up.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: the call takes plain numbers; it changes flags of descriptors only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    // Kernels before 5.11 do not know the flag.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(descriptor) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            && descriptor > 2
        {
            // SAFETY: plain numbers; a descriptor that is closed by now gives EBADF.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Takes ownership of a descriptor that a successful call returned.
pub(crate) fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller passes the fresh result of a call that creates a descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The first number of descriptors that are [set aside](set_aside).
pub(crate) const ASIDE: RawFd = 256;

/// Gives a descriptor that stays open for long a number from [`ASIDE`] on, where there is one: what lies above all descriptors of
/// a program that starts is not even copied for it, and each copy costs. Closed on exec.
pub(crate) fn set_aside(descriptor: OwnedFd) -> OwnedFd {
    // SAFETY: plain numbers; the result is a new descriptor or an error.
    let aside = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ASIDE) };
    owned(aside).unwrap_or(descriptor)
}

/// As [`set_aside`].
pub(crate) fn set_socket_aside(socket: Socket) -> Socket {
    // SAFETY: the socket gives its descriptor up, and the new one has no other owner.
    unsafe { Socket::from_raw_fd(set_aside(OwnedFd::from_raw_fd(socket.into_raw_fd())).into_raw_fd()) }
}

/// Waits until a descriptor is readable or its other end is gone; whether it was in time.
pub(crate) fn wait_readable(descriptor: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    loop {
        // SAFETY: `entry` is one valid pollfd that outlives the call.
        let count = unsafe { libc::poll(&raw mut entry, 1, timeout) };
        if count >= 0 {
            return Ok(count > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A descriptor of a process, readable once it has ended.
pub(crate) fn process_descriptor(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0_u32) };
    owned(libc::c_int::try_from(result).unwrap_or(-1))
}

/// Changes an option of the file system that is mounted where the working directory is.
pub(crate) fn reconfigure(option: &str, value: &str) -> io::Result<()> {
    /// From `linux/mount.h`.
    const FSPICK_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
    let (option, value) = (CString::new(option)?, CString::new(value)?);
    // SAFETY: the path is a C string that outlives the call; the call returns a new descriptor or an error.
    let picked = unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, c".".as_ptr(), FSPICK_CLOEXEC) };
    let context = owned(libc::c_int::try_from(picked).unwrap_or(-1))?;
    let configure = |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: both texts are C strings that outlive the call, or null where the command takes none.
        let result =
            unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    configure(FSCONFIG_SET_STRING, option.as_ptr(), value.as_ptr())?;
    configure(FSCONFIG_CMD_RECONFIGURE, std::ptr::null(), std::ptr::null())
}

/// Makes a tun or tap device in the current network namespace, which goes when the file is closed. The kernel does not
/// make these over netlink.
pub(crate) fn make_tun(name: &str, tap: bool) -> io::Result<std::fs::File> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    let kind = if tap { libc::IFF_TAP } else { libc::IFF_TUN } | libc::IFF_NO_PI;
    // SAFETY: all zero is a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind).unwrap_or_default();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call; the descriptor is open.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
