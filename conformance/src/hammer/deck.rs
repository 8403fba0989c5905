//! Deals what was dealt least before, so that each of a few choices is played once before any of them is played again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use cni_schemas::generate::Source;

use super::lock;

/// How often each choice was dealt. Choices are told apart by their hashes: two with the same one are dealt as if they were one.
#[derive(Debug, Default)]
pub(super) struct Deck {
    dealt: Mutex<HashMap<u64, u32>>,
}

impl Deck {
    /// Whether some choice was not dealt yet. `of` is what it is a choice of, which tells apart equal choices of different
    /// things.
    pub(super) fn has_new<T: Hash>(&self, of: impl Hash, all: &[T]) -> bool {
        let dealt = lock(&self.dealt);
        all.iter().any(|one| !dealt.contains_key(&key(&of, one)))
    }

    /// Any of the choices that were dealt least; none where there are none.
    pub(super) fn deal<'a, T: Hash>(
        &self,
        of: impl Hash,
        all: &'a [T],
        source: &mut dyn Source,
    ) -> Option<&'a T> {
        let mut dealt = lock(&self.dealt);
        let counted: Vec<(u32, u64, &T)> = all
            .iter()
            .map(|one| {
                let key = key(&of, one);
                (dealt.get(&key).copied().unwrap_or_default(), key, one)
            })
            .collect();
        let least = counted.iter().map(|(count, ..)| *count).min()?;
        let rare: Vec<&(u32, u64, &T)> = counted.iter().filter(|(count, ..)| *count == least).collect();
        let (_, key, one) = rare[source.below(rare.len() as u32) as usize];
        *dealt.entry(*key).or_default() += 1;
        Some(one)
    }
}

fn key(of: &impl Hash, one: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    one.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cni_schemas::generate::Random;

    use super::*;

    #[test]
    fn each_is_dealt_once_before_any_is_dealt_again() {
        let (deck, all, mut random) = (Deck::default(), ["a", "b", "c", "d"], Random::new(1));
        for _ in 0..3 {
            let dealt: BTreeSet<&str> =
                all.iter().filter_map(|_| deck.deal(1, &all, &mut random)).copied().collect();
            assert_eq!(dealt.len(), all.len(), "{dealt:?}");
        }
        assert!(!deck.has_new(1, &all));
        assert!(deck.has_new(2, &all), "equal choices of another thing");
        assert!(deck.has_new(1, &["e"]));
        assert_eq!(deck.deal(1, &["a", "e"], &mut random), Some(&"e"));
        assert_eq!(deck.deal::<u8>(1, &[], &mut random), None);
    }
}
