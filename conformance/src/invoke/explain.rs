//! Why a program could not be started, in words; and names of signals.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Says why execve(2) of `program` failed with `errno`.
pub(super) fn exec_failure(program: &Path, errno: i32) -> String {
    let error = io::Error::from_raw_os_error(errno);
    let shown = program.display();
    match errno {
        libc::ENOENT => match std::fs::metadata(program) {
            Err(_) => format!("{shown}: no such file"),
            Ok(_) => match interpreter(program) {
                Some(path) => {
                    format!("{shown}: its interpreter {} does not exist in the arena", path.display())
                }
                None => format!("{shown}: {error}"),
            },
        },
        libc::EACCES => match std::fs::metadata(program) {
            Ok(metadata) if metadata.is_dir() => format!("{shown}: it is a directory"),
            Ok(metadata) if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 == 0 => {
                format!("{shown}: it has no execute permission")
            }
            Ok(_) => match interpreter(program) {
                Some(path) => format!("{shown}: {error} (its interpreter is {})", path.display()),
                None => format!("{shown}: {error}"),
            },
            Err(_) => format!("{shown}: a directory on the way may not be entered"),
        },
        libc::ENOEXEC => match std::fs::metadata(program) {
            Ok(metadata) if metadata.len() == 0 => format!("{shown}: it is empty"),
            _ => format!("{shown}: neither a program of this machine nor a script that begins with `#!`"),
        },
        libc::E2BIG => format!("{shown}: arguments and environment are longer than the kernel takes"),
        _ => format!("{shown}: {error}"),
    }
}

/// The interpreter that a script or a dynamically linked ELF program names.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(program).ok()?.take(1 << 20).read_to_end(&mut head).ok()?;
    interpreter_of(&head)
}

fn interpreter_of(head: &[u8]) -> Option<PathBuf> {
    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
        return Some(path(word));
    }
    // 64-bit little-endian ELF: the program headers, and the one of type PT_INTERP.
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |at: usize| Some(usize::from(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)));
    let long = |at: usize| {
        usize::try_from(u64::from_le_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
    };
    let (table, size, count) = (long(32)?, word(54)?, word(56)?);
    for number in 0..count {
        let header = table.checked_add(number.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(head.get(header..header.checked_add(4)?)?.try_into().ok()?);
        if kind == 3 {
            let (offset, length) = (long(header.checked_add(8)?)?, long(header.checked_add(32)?)?);
            let bytes = head.get(offset..offset.checked_add(length)?)?;
            return Some(path(bytes.split(|byte| *byte == 0).next()?));
        }
    }
    None
}

/// The name of a signal, for those that end programs.
pub(super) fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn interpreters_are_found() {
        assert_eq!(interpreter_of(b"#! /usr/bin/env python\n"), Some(PathBuf::from("/usr/bin/env")));
        assert_eq!(interpreter_of(b"#!/bin/x"), Some(PathBuf::from("/bin/x")));
        assert_eq!(interpreter_of(b"#!\n"), None);
        assert_eq!(interpreter_of(b"hello"), None);
        let mut elf = vec![0; 64 + 56 + 8];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        elf[72] = 120;
        elf[96] = 8;
        elf[120..128].copy_from_slice(b"/lib/ld\0");
        assert_eq!(interpreter_of(&elf), Some(PathBuf::from("/lib/ld")));
    }

    #[test]
    fn failures_are_explained() {
        assert!(exec_failure(Path::new("/none/such"), libc::ENOENT).contains("no such file"));
        assert!(exec_failure(Path::new("/"), libc::EACCES).contains("directory"));
        assert!(exec_failure(Path::new("/proc/version"), libc::EACCES).contains("execute permission"));
    }

    proptest! {
        #[test]
        fn any_head_can_be_read(mut head in proptest::collection::vec(any::<u8>(), 0..200), elf in any::<bool>()) {
            if elf && head.len() >= 6 {
                head[..6].copy_from_slice(b"\x7fELF\x02\x01");
            }
            let _ = interpreter_of(&head);
        }
    }
}
