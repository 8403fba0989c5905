//! Decisions out of the bytes of an input.

use cni_schemas::generate::Source;
use cni_spec::Version;

/// Decisions that bytes stand for: one byte each, two where there is more to choose from, zero when all are used. So a
/// fuzzer that changes a byte changes one decision of the generator.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Decisions that `bytes` stand for.
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// One of some.
    pub fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(u32::try_from(of.len()).unwrap_or(u32::MAX)) as usize]
    }

    /// One of the released versions, the newest first.
    pub fn version(&mut self) -> Version {
        Version::ALL[Version::ALL.len() - 1 - self.below(Version::ALL.len() as u32) as usize]
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

impl Source for Bytes<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        let number = match bound {
            ..=1 => 0,
            2..=256 => u32::from(self.byte()),
            _ => u32::from(u16::from_le_bytes([self.byte(), self.byte()])),
        };
        number % bound.max(1)
    }
}

/// Decisions that are written down as [`Bytes`] reads them: seeds are made so.
#[derive(Debug)]
pub struct Written<S> {
    inner: S,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl<S> Written<S> {
    /// Writes down what `inner` decides.
    pub fn new(inner: S) -> Written<S> {
        Written { inner, bytes: Vec::new() }
    }
}

impl<S: Source> Source for Written<S> {
    fn below(&mut self, bound: u32) -> u32 {
        let decision = self.inner.below(bound.min(1 << 16));
        match bound {
            ..=1 => {}
            2..=256 => self.bytes.push(decision as u8),
            _ => self.bytes.extend((decision as u16).to_le_bytes()),
        }
        decision
    }
}
