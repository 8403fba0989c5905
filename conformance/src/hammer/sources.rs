//! Where scenarios come from: made anew, or bred of others that showed something new. Whatever yields more is drawn more often.

use std::sync::Mutex;

use cni_schemas::generate::Source;

use super::lock;
use super::scenario::Origin;

/// Executions after which what was learnt counts half.
const MEMORY: u64 = 2000;

/// The least share of each source, of [`PARTS`].
const LEAST: u64 = 2;
const PARTS: u64 = 16;

/// What each source has yielded of late.
#[derive(Debug, Default)]
pub(super) struct Sources {
    tallies: Mutex<[Tally; 2]>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    executions: u64,
    new: u64,
}

impl Tally {
    /// What came of so many executions, as if there had been one success in a few before.
    fn yields(self) -> (u64, u64) {
        (self.new + 1, self.executions + 8)
    }
}

impl Sources {
    /// Where the next scenario is to come from.
    pub(super) fn draw(&self, source: &mut dyn Source) -> Origin {
        let [(made, of_made), (bred, of_bred)] = lock(&self.tallies).map(Tally::yields);
        let (made, bred) = (made * of_bred, bred * of_made);
        let share = (PARTS * bred / (made + bred)).clamp(LEAST, PARTS - LEAST);
        if source.chance(share as u32, PARTS as u32) { Origin::Bred } else { Origin::Made }
    }

    /// What came of a scenario: how many executions it took, and how much of it was new.
    pub(super) fn learn(&self, origin: Origin, executions: usize, new: usize) {
        let mut tallies = lock(&self.tallies);
        let tally = &mut tallies[usize::from(origin == Origin::Bred)];
        tally.executions += executions as u64;
        tally.new += new as u64;
        if tally.executions > MEMORY {
            *tally = Tally { executions: tally.executions / 2, new: tally.new / 2 };
        }
    }
}

#[cfg(test)]
mod tests {
    use cni_schemas::generate::Random;

    use super::*;

    fn bred_of_1600(sources: &Sources) -> usize {
        let mut random = Random::new(7);
        (0..1600).filter(|_| sources.draw(&mut random) == Origin::Bred).count()
    }

    #[test]
    fn what_yields_more_is_drawn_more_often_and_nothing_is_given_up() {
        let sources = Sources::default();
        let at_first = bred_of_1600(&sources);
        assert!((700..900).contains(&at_first), "{at_first}");
        (0..500).for_each(|index| sources.learn(Origin::Bred, 5, usize::from(index % 50 == 0)));
        (0..500).for_each(|index| sources.learn(Origin::Made, 5, usize::from(index % 10 == 0)));
        let poor = bred_of_1600(&sources);
        assert!((150..400).contains(&poor), "{poor}");
        (0..2000).for_each(|_| sources.learn(Origin::Bred, 5, 1));
        let rich = bred_of_1600(&sources);
        assert!((1200..1500).contains(&rich), "{rich}");
    }
}
