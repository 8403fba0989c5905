//! Where the decisions of a generator come from.

/// A stream of decisions. The decision 0 always leads to the simplest outcome, so that a stream of zeros yields the
/// simplest document; shrinking rests on that.
pub trait Source {
    /// A decision from 0 to `bound - 1`; `bound` is at least 1.
    fn below(&mut self, bound: u32) -> u32;

    /// Whether an event of probability `of` in `all` happens; the simplest outcome is that it does not.
    fn chance(&mut self, of: u32, all: u32) -> bool {
        self.below(all) >= all - of
    }
}

/// Decisions at random, from a seed: equal seeds give equal documents on every machine (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream from a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Source for Random {
    fn below(&mut self, bound: u32) -> u32 {
        // The bias of multiply-and-shift is far below what a test could see.
        (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Repeats recorded decisions, then only zeros.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    decisions: &'a [u32],
    next: usize,
}

impl<'a> Replay<'a> {
    /// A stream that repeats `decisions`.
    pub fn new(decisions: &'a [u32]) -> Self {
        Replay { decisions, next: 0 }
    }
}

impl Source for Replay<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        let decision = self.decisions.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        decision.min(bound - 1)
    }
}

/// Passes decisions on and remembers them.
#[derive(Debug)]
pub struct Recorder<'a, S: ?Sized> {
    inner: &'a mut S,
    /// What was decided.
    pub decisions: Vec<u32>,
}

impl<'a, S: Source + ?Sized> Recorder<'a, S> {
    /// Records what `inner` decides.
    pub fn new(inner: &'a mut S) -> Self {
        Recorder { inner, decisions: Vec::new() }
    }
}

impl<S: Source + ?Sized> Source for Recorder<'_, S> {
    fn below(&mut self, bound: u32) -> u32 {
        let decision = self.inner.below(bound);
        self.decisions.push(decision);
        decision
    }
}
