//! Reading standard input.

use crate::refusal::Refusal;
use std::io::Read;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long the operations that can do without input wait for more of it.
const PATIENCE: Duration = Duration::from_millis(300);
/// The size of one read in bytes.
const CHUNK: usize = 64 * 1024;

/// Reads to the end.
pub(super) fn wholly(mut stdin: impl Read) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).map_err(|error| super::io_failure("cannot read standard input", &error))?;
    Ok(bytes)
}

/// Reads to the end, but no further than the caller has written if it neither writes nor closes for a while.
/// Failures count as the end.
pub(super) fn patiently(mut stdin: Box<dyn Read + Send>) -> Vec<u8> {
    let (sender, receiver) = mpsc::channel();
    // The thread may stay blocked until the process ends.
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = stdin.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(chunk) => bytes.extend(chunk),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_input_is_read() {
        let input: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        assert_eq!(wholly(&input[..]).unwrap(), input);
        assert_eq!(patiently(Box::new(std::io::Cursor::new(input.clone()))), input);
    }

    #[test]
    fn input_that_stays_open_is_not_waited_for() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"{}").unwrap();
        assert_eq!(patiently(Box::new(reader)), b"{}");
    }
}
