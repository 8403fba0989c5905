//! Arenas kept for use again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Arena, ArenaConfig, ArenaError};

/// At most a fixed number of arenas, built when they are first needed and used again while they are as new.
/// To be shared between threads.
#[derive(Debug)]
pub struct ArenaPool {
    config: ArenaConfig,
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug)]
struct State {
    idle: Vec<Arena>,
    /// How many more may be taken before one must be given back.
    free: usize,
}

impl ArenaPool {
    /// A pool of at most `size` arenas, at least one.
    pub fn new(config: ArenaConfig, size: usize) -> Self {
        let state = State { idle: Vec::new(), free: size.max(1) };
        Self { config, state: Mutex::new(state), given_back: Condvar::new() }
    }

    /// An arena that is as new; waits while all are in use.
    ///
    /// # Errors
    /// Those of [`Arena::start`].
    pub fn take(&self) -> Result<Arena, ArenaError> {
        let mut state = self.lock();
        while state.free == 0 {
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= 1;
        if let Some(arena) = state.idle.pop() {
            return Ok(arena);
        }
        drop(state);
        Arena::start(&self.config).inspect_err(|_| self.release(None))
    }

    /// Gives an arena back, or ends it when it cannot be made as new. An arena that is dropped instead never
    /// comes back: its place in the pool is lost, so call [`Self::discard`] for those.
    pub fn give_back(&self, mut arena: Arena) {
        let reusable = matches!(arena.reset(), Ok(true));
        self.release(reusable.then_some(arena));
    }

    /// Ends an arena, a dead one for instance, and makes room for another.
    pub fn discard(&self, arena: Arena) {
        drop(arena);
        self.release(None);
    }

    fn release(&self, arena: Option<Arena>) {
        let mut state = self.lock();
        state.free += 1;
        state.idle.extend(arena);
        drop(state);
        self.given_back.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
